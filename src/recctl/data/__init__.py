"""Sources and formats, the interactions schema, the starter data set."""
