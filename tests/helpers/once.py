"""What costs seconds is made once a session, whichever pytest-xdist worker needs it first."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock


def session_folder(factory: pytest.TempPathFactory) -> Path:
    """The temporary directory that all xdist workers of this session share."""
    own = factory.getbasetemp()
    # A worker's own directory lies in that of the process that started it.
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def once(folder: Path, name: str, make: Callable[[], Any]) -> Any:
    """Return what `make` returned in the first process of the session that asked for `name`.

    The others wait for it. Where it failed they fail too, instead of trying again.

    Args:
        folder: `session_folder`.
        name: What is made; two makers never share a name.
        make: Makes it, and returns what JSON can hold: a path as text, an address.
    """
    result = folder / f"{name}.json"
    with FileLock(folder / f"{name}.lock"):
        if not result.exists():
            # Stays where `make` raises.
            result.write_text(json.dumps({"failed": f"{name}: see the first test that needed it"}))
            result.write_text(json.dumps({"value": make()}))
    made = json.loads(result.read_text())
    if "failed" in made:
        pytest.fail(made["failed"])
    return made["value"]
