"""Losses, the training loop, checkpoints, devices."""
