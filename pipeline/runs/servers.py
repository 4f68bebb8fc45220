"""The servers that a request names: they must answer before anything starts."""

import os
import re
from collections.abc import Iterator
from urllib.parse import parse_qs

from pipeline.cluster.job import AUTO, ENDPOINT, LOCAL
from pipeline.config.cluster import Tracking
from pipeline.config.places import Named, database, recordings, stores
from pipeline.config.root import Config
from pipeline.core import storage
from pipeline.core.errors import ConfigError
from pipeline.core.network import require_listener, require_web_server
from pipeline.runs.tracking_uri import require_database

# The option of a URI that names the address of S3-compatible storage.
OPTION = "endpoint_override"
_CLUSTER = re.compile(r"(?:ray://)?(?P<host>\[[^\]]+\]|[^:/\[\]]+):(?P<port>\d{1,5})")


def require_tracking(tracking: Tracking) -> None:
    """Check that the MLflow server answers, or that MLflow can open the database.

    Raises:
        ConfigError: it does not, or it cannot.
    """
    uri = tracking.uri or ""
    require_database(uri)
    if uri.startswith(("http://", "https://")):
        require_web_server("tracking.uri", uri)


def require_tracked_runs(tracking: Tracking) -> None:
    """Check a tracking store that holds runs to read: a database must exist already.

    Raises:
        ConfigError: as `require_tracking`, or there is no such database.
    """
    require_tracking(tracking)
    path = database(tracking.uri)
    if path is not None and not os.path.exists(path):
        raise ConfigError(f"tracking.uri={tracking.uri}: no such database")


def require_cluster(address: str) -> None:
    """Check that something answers at the address of a Ray cluster.

    Raises:
        ConfigError: nothing does, or this is no address.
    """
    if address in (AUTO, LOCAL):
        return
    parts = _CLUSTER.fullmatch(address)
    if parts is None:
        raise ConfigError(f"cluster.address={address}: not an address; write HOST:PORT")
    require_listener("cluster.address", address, parts["host"].strip("[]"), int(parts["port"]))


def require_storage(config: Config) -> None:
    """Check that the servers of object storage answer, as far as the request names them.

    Raises:
        ConfigError: one does not.
    """
    endpoints: dict[str, str] = {}
    places = list(_remote_places(config))
    for key, place in places:
        option = parse_qs(place.partition("?")[2]).get(OPTION)
        if option:
            endpoints[option[0]] = f"{key}: {OPTION}"
        elif place.startswith("s3://") and ENDPOINT in os.environ:
            endpoints[os.environ[ENDPOINT]] = ENDPOINT
    if places and config.cluster.storage_endpoint is not None:
        endpoints[config.cluster.storage_endpoint] = "cluster.storage_endpoint"
    for endpoint, key in endpoints.items():
        # Arrow takes the address with and without the scheme.
        address = endpoint if "://" in endpoint else f"https://{endpoint}"
        require_web_server(key, address)


def _remote_places(config: Config) -> Iterator[Named]:
    """Yield the key and the URI of every place on other machines."""
    output = ("output", config.output)
    for key, place in (output, *recordings(config.data), *stores(config.data)):
        if storage.is_remote(place):
            yield key, place
