"""From raw skeleton recordings to a pretrained, measured encoder: Ray, MLflow, files and the command line."""

__version__ = "0.1.0"
