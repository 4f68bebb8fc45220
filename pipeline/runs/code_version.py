"""The version of the code, which every run records."""

import functools
import hashlib
import subprocess
from pathlib import Path

from pipeline.core.paths import ROOT

# The folders that decide what a run computes. Other files, such as results, may change.
CODE = ("pipeline", "models", "conf")
SUFFIXES = (".py", ".yaml")
# The end of a version whose code is in no commit.
DIRTY = "+dirty"
# The version of a stage that was run before runs recorded versions. No commit is known to hold it.
UNKNOWN = f"unknown{DIRTY}"


# Python has loaded the code already: what is changed or committed from now on, this process does
# not run.
@functools.cache
def code_version() -> str:
    """Return the git commit, followed by `+dirty` if code or configuration differ from it.

    If the code is not in a git repository, return a hash of the files in CODE.
    """
    try:
        # An installed package may be inside the repository of another project.
        if Path(_git("rev-parse", "--show-toplevel")).resolve() != ROOT:
            return _hash_of_files()
        commit = _git("rev-parse", "--short=12", "HEAD")
        changes = _git("status", "--porcelain", "--", *CODE)
    except (OSError, subprocess.CalledProcessError):
        return _hash_of_files()
    if changes:
        return f"{commit}{DIRTY}"
    return commit


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _hash_of_files() -> str:
    digest = hashlib.sha256()
    for folder in CODE:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES:
                digest.update(path.relative_to(ROOT).as_posix().encode())
                digest.update(path.read_bytes())
    return "sha256:" + digest.hexdigest()[:16]
