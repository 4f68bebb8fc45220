"""The sections `cluster` and `tracking`: what a run may use, and where it is recorded."""

from pipeline.config.section import Count, Positive, Section, Weight


class Cluster(Section):
    """What the run may use.

    None of it changes what is computed, beyond the order of floating-point sums.
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
    """Where MLflow keeps the run.

    Attributes:
        uri: the tracking store; None a database in the output directory.
        experiment: the name of the MLflow experiment.
    """

    uri: str | None
    experiment: str
