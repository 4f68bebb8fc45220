"""What a run knows of itself between two starts: the file `run.json`."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.core import storage
from pipeline.core.errors import ConfigError

VERSION = 2
# The key of the run's own clip store in `RunState.stores`; pooled stores are `pool_0` and so on.
OWN_STORE = "store"


class RunState(BaseModel):
    """What is done and found out. It is written whole after every change.

    Attributes:
        version: of this file's format.
        stages: stage -> the results that it reported when it was finished.
        summarised: whether the summary and the tracked run hold all that is finished.
        mlflow_run_id: of the tracked run.
        seconds: stage -> how long it took when it last ran.
        cache: of the stream that training began with.
        stores: the fingerprints of the clip stores that the run was begun with: `store`, `pool_0`.
    """

    model_config = ConfigDict(extra="forbid")

    version: int = VERSION
    stages: dict[str, dict[str, Any]] = {}
    summarised: bool = False
    mlflow_run_id: str | None = None
    seconds: dict[str, float] = {}
    cache: str | None = None
    stores: dict[str, str] = {}


def read_state(uri: str) -> RunState:
    """Read a run's state; that of a run which has none yet is empty.

    Raises:
        ConfigError: it was written by a later version, or is damaged.
    """
    if not storage.exists(uri):
        return RunState()
    values = storage.read_json(uri)
    if not isinstance(values, dict) or not isinstance(values.get("stages"), dict):
        raise ConfigError(f"{uri}: not the state of a run; choose another output, or fresh=true")
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
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{uri}: damaged ({key}: {first['msg']}); choose another output, or fresh=true"
        ) from None


def _from_version_1(values: dict[str, Any]) -> dict[str, Any]:
    """Return the state as version 2 has it.

    Version 1 had no version, and the fingerprints of stores stood beside everything else:

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
