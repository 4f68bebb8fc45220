"""Metrics over time, with as many points as a picture can show."""

import math

from pipeline.core.arithmetic import thinned
from pipeline.runs.tracking.store import Store

# A curve has at most so many points. Its first and last ones are among them.
MOST_POINTS = 200


def curve(store: Store, run_id: str, name: str, *, is_ours: bool) -> list[tuple[int, float]]:
    """Return a metric over time: (step, newest value of the step), at most MOST_POINTS.

    Args:
        store: that holds the run.
        run_id: of the run.
        name: of the metric.
        is_ours: whether this program wrote the run.

    Raises:
        TrackingError: the store does not answer.
    """
    history = store.ask(store.client.get_metric_history, run_id, name)
    history.sort(key=lambda metric: (metric.step, metric.timestamp))
    values = {metric.step: metric.value for metric in history if math.isfinite(metric.value)}
    # The results of our stages are logged without a step, and training begins with step 1.
    if is_ours and len(values) > 1:
        values.pop(0, None)
    return thinned(list(values.items()), MOST_POINTS)
