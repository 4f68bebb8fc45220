"""The stage `compare`: runs that MLflow holds, side by side."""
