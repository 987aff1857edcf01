"""The champion's figures on the interactions after its training."""
