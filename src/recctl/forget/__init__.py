"""Users who are forgotten: removed from the data, from what was made of it, from evidence."""
