"""Raw files to typed interactions: formats, schema, quarantine, batches."""
