"""A decision as tables, pages, plots and JSON; it reads records and no registry."""
