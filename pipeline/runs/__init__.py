"""A run's directory, its stages one after another, and its record in MLflow."""
