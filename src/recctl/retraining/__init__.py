"""Retrainings, step by step; DVC, MLflow and git keep the results."""
