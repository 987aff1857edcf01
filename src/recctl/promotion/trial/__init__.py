"""Models on trial: fetched, checked, scored on today's test set, packaged, archived."""
