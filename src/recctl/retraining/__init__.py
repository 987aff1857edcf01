"""One retraining, step by step; DVC, MLflow and git keep what came of it."""
