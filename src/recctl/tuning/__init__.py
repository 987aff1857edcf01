"""The search for settings: Optuna's studies over a model's training, judged on validation only."""
