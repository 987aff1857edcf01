"""The decision log and the aliases: the only room that talks to MLflow's registry."""
