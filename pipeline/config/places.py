"""The paths in a configuration: all local ones are made absolute before anything starts.

A relative path would mean something else in the processes of a cluster, which start in other
directories.
"""

from collections.abc import Iterator
from pathlib import Path

from pipeline.config.cluster import Tracking
from pipeline.config.data import Data
from pipeline.config.root import Config
from pipeline.config.sweep import Sweep
from pipeline.core import storage
from pipeline.core.errors import ConfigError
from pipeline.core.paths import CONF, ROOT

# The schemes of URIs that Arrow reads.
SCHEMES = ("file", "s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss", "mock")
SQLITE = "sqlite:///"
# A key of the configuration, and the place that it names.
Named = tuple[str, str]
# The tracking store in the output directory, if `tracking.uri` names no other.
TRACKING_DATABASE = "mlflow.db"
# Lists of clip names that come with the project. A user gives only the file name.
SHIPPED_LISTS = CONF / "data" / "missing"


def settle_places(config: Config, in_job: bool) -> Config:
    """Return the configuration with absolute local paths.

    Args:
        config: the configuration, with paths as the user wrote them.
        in_job: true inside a submitted job, whose working directory is a temporary copy.

    Returns:
        A copy. Its `tracking.uri` is always set.

    Raises:
        ConfigError: a result would be lost (a relative output inside a submitted job), or a path
            cannot work (a remote output without a tracking server).
    """
    require_scheme("output", config.output)
    if in_job:
        _refuse_relative(config)
    if storage.is_remote(config.output) and config.tracking.uri is None:
        raise ConfigError(
            f"output={config.output}: a remote output needs tracking.uri (an MLflow server)"
        )
    output = storage.absolute(config.output)
    settled = {
        "output": output,
        "data": _settle_data(config.data),
        "tracking": _settle_tracking(config.tracking, output),
    }
    if config.sweep is not None:
        settled["sweep"] = _settle_sweep(config.sweep)
    return config.model_copy(update=settled)


def recordings(data: Data) -> Iterator[Named]:
    """Yield the places of the recordings."""
    for number, place in enumerate(data.sources or ()):
        key = "data.raw" if isinstance(data.raw, str) else f"data.raw.{number}"
        yield key, place


def stores(data: Data) -> Iterator[Named]:
    """Yield the places of the clip stores that the configuration names."""
    if data.store is not None:
        yield "data.store", data.store
    yield from pooled_stores(data)


def pooled_stores(data: Data) -> Iterator[Named]:
    """Yield the places of the clip stores that join pretraining."""
    for number, pooled in enumerate(data.pool):
        yield f"data.pool.{number}.store", pooled.store


def named_files(config: Config) -> Iterator[Named]:
    """Yield the places of the files that a run reads, apart from recordings and stores."""
    # A bare name is a list that comes with the project.
    if config.data.left_out is not None and "/" in config.data.left_out:
        yield "data.left_out", config.data.left_out
    if config.sweep is not None:
        for number, place in enumerate(config.sweep.published):
            yield f"sweep.published.{number}", place


def database(uri: str | None) -> str | None:
    """Return the path of a sqlite database, None if the tracking store is not one."""
    if uri is None or not uri.startswith(SQLITE):
        return None
    return uri.removeprefix(SQLITE)


def require_scheme(key: str, place: str) -> None:
    """Check that Arrow reads URIs like this one.

    Raises:
        ConfigError: it does not.
    """
    if not storage.is_remote(place):
        return
    scheme = place.partition("://")[0]
    if scheme not in SCHEMES:
        raise ConfigError(
            f"{key}={place}: nothing reads {scheme}://; give a local path, or a URI such as "
            "s3://BUCKET/PATH"
        )


def settle_list(place: str) -> str:
    """Return the path of a list of clip names, absolute unless the project ships the list.

    A shipped list keeps its bare name: every process finds it in its own checkout.
    """
    if shipped_list(place) is not None:
        return place
    return storage.absolute(place)


def shipped_list(place: str) -> Path | None:
    """Return the file of a list that comes with the project, None if `place` is not one.

    A file of the same name in the working directory comes first.
    """
    shipped = SHIPPED_LISTS / place
    if "/" in place or Path(place).exists() or not shipped.is_file():
        return None
    return shipped


def _refuse_relative(config: Config) -> None:
    """Raise ConfigError for a relative path to something that must outlive the job."""
    places = {
        "output": config.output,
        "data.store": config.data.store,
        "tracking.uri": database(config.tracking.uri),
    }
    for key, place in places.items():
        if place is None or storage.is_remote(place):
            continue
        if not place.startswith(("/", "file://", "~")):
            raise ConfigError(
                f"{key}={place}: relative to the job's temporary directory, where it would be "
                "lost; give an absolute path or a URI"
            )


def _settle_data(data: Data) -> Data:
    settled: dict[str, object] = {}
    if isinstance(data.raw, list):
        settled["raw"] = [storage.absolute(place) for place in data.raw]
    elif data.raw is not None:
        settled["raw"] = storage.absolute(data.raw)
    if data.store is not None:
        settled["store"] = storage.absolute(data.store)
    if data.left_out is not None:
        settled["left_out"] = settle_list(data.left_out)
    pool = []
    for pooled in data.pool:
        store = storage.absolute(pooled.store)
        pool.append(pooled.model_copy(update={"store": store}))
    settled["pool"] = pool
    return data.model_copy(update=settled)


def _settle_tracking(tracking: Tracking, output: str) -> Tracking:
    """Return the section with an absolute `uri`: by default a database in the output."""
    if tracking.uri is None:
        return tracking.model_copy(update={"uri": f"{SQLITE}{output}/{TRACKING_DATABASE}"})
    path = database(tracking.uri)
    if path is None:
        return tracking
    return tracking.model_copy(update={"uri": f"{SQLITE}{storage.absolute(path)}"})


def _settle_sweep(sweep: Sweep) -> Sweep:
    """Return the section with absolute paths. A relative path starts at the checkout."""
    published = []
    for place in sweep.published:
        if not storage.is_remote(place):
            place = storage.absolute(str(ROOT / Path(place).expanduser()))
        published.append(place)
    return sweep.model_copy(update={"published": published})
