"""The state of a run, which it reads again when the same command goes on: the file `run.json`."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.core import storage
from pipeline.core.errors import ConfigError, first_line

# The version of the file's format.
VERSION = 2
# The key of the run's own clip store in `RunState.stores`; pooled stores are `pool_0` and so on.
OWN_STORE = "store"


class RunState(BaseModel):
    """The content of `run.json`. The file is written anew after every change.

    Attributes:
        version: the version of the file's format.
        stages: the name of a finished stage -> its results.
        summarised: whether the summary and MLflow have the results of all finished stages.
        mlflow_run_id: the id of the run in MLflow.
        mlflow_uri: the tracking store that holds it (`runs.tracking_uri.remembered`).
        seconds: the name of a stage -> its duration when it last ran, in seconds.
        code: the name of a stage -> the version of the code that finished it (`code_version`).
        cache: the kind of cache that training began with, such as `memory`.
        stores: `store`, `pool_0`, ... -> the fingerprint of the clip store when the run began.
        places: the same keys -> where that store was when it was last used.
        verified: the same keys -> the files whose checksums were right (`ClipStore.stamp`).
    """

    model_config = ConfigDict(extra="forbid")

    version: int = VERSION
    stages: dict[str, dict[str, Any]] = {}
    summarised: bool = False
    mlflow_run_id: str | None = None
    mlflow_uri: str | None = None
    seconds: dict[str, float] = {}
    code: dict[str, str] = {}
    cache: str | None = None
    stores: dict[str, str] = {}
    places: dict[str, str] = {}
    verified: dict[str, str] = {}


def pool_key(number: int) -> str:
    """Return the key of a pooled store in `RunState.stores`."""
    return f"pool_{number}"


def read_state(uri: str) -> RunState | None:
    """Read the state of a run. A run without the file has an empty state.

    Returns:
        The state. None if the file is no state at all: it is empty, or cut off.

    Raises:
        ConfigError: the file was written by a later version, or a value in it is wrong.
    """
    if not storage.exists(uri):
        return RunState()
    values = storage.read_object(uri)
    if values is None or not isinstance(values.get("stages"), dict):
        return None
    version = values.get("version", 1)
    if version not in (1, VERSION):
        raise ConfigError(
            f"{uri}: of version {version}, this program reads 1 and {VERSION}; "
            "choose another output, or fresh=true"
        )
    if version == 1:
        values = _from_version_1(values)
    try:
        return RunState.model_validate(values)
    except ValidationError as error:
        raise ConfigError(
            f"{uri}: damaged ({first_line(error)}); delete it, then finished stages run again"
        ) from None


def _from_version_1(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a file of version 1 in the form of version 2.

    Version 1 had no key `version`, and the fingerprints of stores stood beside the other keys:

        {"fingerprint": "ab", "pool_0": "cd"}  ->  {"stores": {"store": "ab", "pool_0": "cd"}}
    """
    upgraded: dict[str, Any] = {"version": VERSION, "stores": {}}
    for key, value in values.items():
        if key == "fingerprint":
            upgraded["stores"][OWN_STORE] = value
        elif key.startswith("pool_"):
            upgraded["stores"][key] = value
        else:
            upgraded[key] = value
    return upgraded
