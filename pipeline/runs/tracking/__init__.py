"""The record of a run in MLflow. Only the driver talks to MLflow: workers send it their metrics."""

from pipeline.runs.tracking.check import check_tracking
from pipeline.runs.tracking.tracker import Tracker

__all__ = ["Tracker", "check_tracking"]
