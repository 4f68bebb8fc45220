"""Measuring all encoders at the same time, each in a Ray task."""

import numpy as np
import ray
from ray.exceptions import RayError

from pipeline.cluster.placement import bundle
from pipeline.config.cluster import Cluster
from pipeline.core.errors import UserError, first_line
from pipeline.evaluate.extractor import device_of
from pipeline.evaluate.protocols import Measurement, Protocols, measure_encoder
from pipeline.store.splits import Split


def measure(
    features: dict[str, np.ndarray], split: Split, protocols: Protocols, cluster: Cluster
) -> dict[str, Measurement]:
    """Measure every encoder's features, each in a task with the resources of a training worker.

    Args:
        features: name of the encoder -> features [N, D] of the clips `split.ids`.
        split: the clips of both sides.
        protocols: the settings of the linear probe and of nearest neighbours.
        cluster: the resources that the run may use.

    Returns:
        Name of the encoder -> its measurement.

    Raises:
        UserError: features cannot be measured; one line says why.
    """
    resources = bundle(cluster)
    # No retries: with the same features and the same seed a task would fail again.
    # With the default named, Ray does not look for room in what a trial of a sweep has reserved:
    # its process of several workers has next to nothing.
    task = ray.remote(
        num_cpus=resources["CPU"],
        num_gpus=resources.get("GPU", 0),
        max_retries=0,
        scheduling_strategy="DEFAULT",
    )(measure_encoder)
    labels = (split.train_labels, split.test_labels)
    device = device_of(cluster)
    # All tasks are submitted before the first result is waited for.
    pending = {}
    for name, values in features.items():
        sides = split.rows(values)
        pending[name] = task.remote(sides, labels, protocols, cluster.threads, device)
    try:
        return {name: ray.get(reference) for name, reference in pending.items()}
    except RayError as error:
        raise UserError(f"evaluate: {first_line(error)}") from error
