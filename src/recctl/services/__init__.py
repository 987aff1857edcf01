"""What `recctl up` runs on this machine: Prefect's server, MLflow's, the HTTP service, a worker."""
