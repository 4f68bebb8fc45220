"""Refusing settings that hold a secret.

A run writes its settings into `config.yaml`, MLflow and pages. So a password in the address of a
server, or a key in that of a bucket, would be left behind there. The libraries that need it find it
in the environment instead.
"""

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.core.errors import ConfigError
from pipeline.core.secrets import redact

TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"

_MLFLOW = (
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, "
    "in the environment"
)
_AWS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
_GOOGLE = "set GOOGLE_APPLICATION_CREDENTIALS in the environment to a file with the key"
_AZURE = (
    "set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET in the environment, or log in "
    "with az login"
)
_RAY = "set RAY_AUTH_MODE=token in the environment, and put the token into ~/.ray/auth_token"
# Where a library takes the secret from, by setting and by scheme of a URI.
WAYS_OUT_BY_KEY = {"cluster.storage_endpoint": _AWS, "cluster.address": _RAY}
# Settings that are addresses of servers, which may have no scheme: `me:word@host:9000`.
ADDRESSES = ("tracking.uri", "cluster.storage_endpoint", "cluster.address")
WAYS_OUT_BY_SCHEME = {
    "s3": _AWS,
    "gs": _GOOGLE,
    "gcs": _GOOGLE,
    "abfs": _AZURE,
    "abfss": _AZURE,
    "postgresql": "set PGPASSWORD in the environment, or put it into ~/.pgpass",
    "mysql": "put it into a file, and name that: ?read_default_file=/PATH/my.cnf",
}


def refuse_secrets(settings: Any, overrides: Iterable[str]) -> None:
    """Check that no setting holds a secret.

    Args:
        settings: of a run, as nested mappings and lists.
        overrides: `key=value` strings of the command line. One may be overridden by another, but
            a table keeps all of them in its records.

    Raises:
        ConfigError: a setting holds a secret. The message shows it without the secret, and says
            where the secret belongs.
    """
    for key, text in _texts(settings):
        _refuse_secret(key, text)
    for override in overrides:
        key, _, text = override.partition("=")
        _refuse_secret(key, text)


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts in nested mappings and lists, each with its key: `data.raw.0`."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, list):
        for number, entry in enumerate(value):
            yield from _texts(entry, f"{key}.{number}")
    elif isinstance(value, dict):
        for name, entry in value.items():
            # A name may be chosen by a user, too: that of a protocol or of a variant.
            yield key, str(name)
            yield from _texts(entry, f"{key}.{name}".removeprefix("."))


def _refuse_secret(key: str, text: str) -> None:
    # Within a text a blank ends a password, but here the whole text may be one URI.
    joined = "%20".join(text.split())
    shown = _redacted_setting(key, joined)
    if shown == joined:
        # `Bearer abc` is found only with its blank.
        joined = text
        shown = redact(text)
    if shown == joined:
        return
    source = ""
    if text == os.environ.get(TRACKING_VARIABLE):
        source = f" (from {TRACKING_VARIABLE})"
    raise ConfigError(
        f"{key}={shown}{source}: holds a secret, which the run would write into its files; "
        f"leave it out and {_way_out(key, text)}"
    )


def _redacted_setting(key: str, text: str) -> str:
    """Return the value of a setting without its secrets."""
    if not _is_bare_address(key, text):
        return redact(text)
    scheme = "http://"
    return redact(f"{scheme}{text}").removeprefix(scheme)


def _is_bare_address(key: str, text: str) -> bool:
    """True for the address of a server without a scheme."""
    return key in ADDRESSES and "://" not in text


def _way_out(key: str, text: str) -> str:
    """Say where a secret belongs."""
    if key in WAYS_OUT_BY_KEY:
        return WAYS_OUT_BY_KEY[key]
    is_server = re.search("https?://", text) is not None or _is_bare_address(key, text)
    # Overrides of a variant have the key in the text.
    if is_server and "tracking" in f"{key} {text}":
        return _MLFLOW
    # The driver of a database does not matter: `postgresql+psycopg2`.
    scheme = re.search(r"([a-z0-9]+)(?:\+[a-z0-9]+)?://", text.lower())
    if scheme and scheme.group(1) in WAYS_OUT_BY_SCHEME:
        return WAYS_OUT_BY_SCHEME[scheme.group(1)]
    return "give it to the library in the environment or in a file"
