"""What people and programs are shown: literal text, tables, pages, plots, JSON."""
