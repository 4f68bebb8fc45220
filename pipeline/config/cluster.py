"""The sections `cluster` and `tracking`: the resources of a run, and its record in MLflow."""

from pipeline.config.section import Count, Positive, Section, Weight


class Cluster(Section):
    """The resources that a run may use. `conf/cluster/local.yaml` explains the keys.

    They change the results only by the order of floating-point sums.
    """

    address: str | None
    workers: Count
    cpus_per_worker: Positive
    threads: Count
    gpu: bool
    wait_minutes: Weight
    storage_endpoint: str | None
    object_store_gb: Positive | None
    quiet: bool


class Tracking(Section):
    """The record of the run in MLflow.

    Attributes:
        uri: the tracking store; None for a database in the output directory.
        experiment: the name of the MLflow experiment.
    """

    uri: str | None
    experiment: str
