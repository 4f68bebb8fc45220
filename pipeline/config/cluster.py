"""The sections `cluster` and `tracking`: the resources of a run, and its record in MLflow."""

from typing import Annotated

from pydantic import Field

from pipeline.config.section import Few, Name, Place, Section


class Cluster(Section):
    """The resources that a run may use. `conf/cluster/local.yaml` explains the keys.

    They change the results only by the order of floating-point sums.
    """

    address: Place | None = None
    workers: Few
    cpus_per_worker: Annotated[float, Field(gt=0, le=1024)]
    threads: Few
    gpu: bool
    # A week.
    wait_minutes: Annotated[float, Field(ge=0, le=7 * 24 * 60)]
    storage_endpoint: Place | None = None
    # Ray refuses less than 75 MB.
    object_store_gb: Annotated[float, Field(ge=0.075, le=1e5)] | None = None
    quiet: bool


class Tracking(Section):
    """The record of the run in MLflow.

    Attributes:
        uri: the tracking store; None for a database in the output directory.
        experiment: the name of the MLflow experiment.
    """

    uri: Place | None = None
    experiment: Name
