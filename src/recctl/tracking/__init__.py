"""MLflow: its server, one run per training, the files of runs; the registry is promotion's."""
