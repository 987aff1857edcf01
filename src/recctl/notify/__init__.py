"""Notices of what happened, sent to the addresses of `notify` in params.yaml."""
