"""The output directory of a run, the loop over its stages, and its record in MLflow."""
