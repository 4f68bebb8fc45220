"""A run is its `output` directory: what was asked for, what is done, where it is tracked."""

import time
from typing import Any

import yaml
from pyarrow import fs

from pipeline.config.identity import identity
from pipeline.config.root import STAGES, Config, check, to_yaml
from pipeline.core import storage
from pipeline.core.errors import ConfigError, UserError
from pipeline.runs import files
from pipeline.runs.state import RunState, read_state
from pipeline.store.manifest import MANIFEST

# Settings that a refusal names, before it says how many more there are.
NAMED_DIFFERENCES = 5


class RunDirectory:
    """The output directory of a run, and its small state file.

    Attributes:
        uri: where it lies.
        state: what is done and found out.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.state = RunState()

    @classmethod
    def open(cls, config: Config) -> "RunDirectory":
        """Start a run, or take up the one that `output` holds.

        Raises:
            ConfigError: `output` holds something else, or a run of other settings; the message
                names them.
        """
        directory = cls(config.output)
        if config.fresh:
            return directory
        if not storage.exists(directory.path(files.CONFIG)):
            if storage.is_directory(directory.uri) and storage.files(directory.uri):
                raise ConfigError(
                    f"output={directory.uri}: holds files but no run; choose another, "
                    "or fresh=true moves it aside"
                )
            return directory
        state = read_state(directory.path(files.STATE))
        differing = directory._differences(config)
        if state.stages or storage.exists(directory.path(files.CHECKPOINTS)):
            directory._refuse(differing)
            directory.state = state
        elif not differing:
            # Nothing was finished or trained: all that is worth keeping is the tracked run.
            directory.state.mlflow_run_id = state.mlflow_run_id
        return directory

    def begin(self, config: Config) -> None:
        """Write what was asked for: the directory is this run's now.

        With `fresh` an earlier run is moved aside.
        """
        if config.fresh:
            self._move_aside()
        storage.write_bytes(self.path(files.CONFIG), to_yaml(config).encode())

    def path(self, *parts: str) -> str:
        """Return the location of something in the directory."""
        return storage.join(self.uri, *parts)

    def unfinished(self, config: Config) -> list[str]:
        """Return the stages to run: the first one asked for that is not finished, and all after it.

        Always run the ablation stage: each of its cells decides whether it is up to date.
        """
        stages = config.ordered_stages
        for number, stage in enumerate(stages):
            finished = self.results(stage) is not None
            lost = stage == "ingest" and not has_store(config)
            if not finished or lost or stage == "ablate":
                return stages[number:]
        return []

    def results(self, stage: str) -> dict[str, Any] | None:
        """Return what a finished stage reported, None where it is not finished."""
        return self.state.stages.get(stage)

    def claim(self, key: str, fingerprint: str, uri: str) -> None:
        """Tie the run to a clip store by its content.

        Args:
            key: the store's name in `RunState.stores`.
            fingerprint: of the store's content.
            uri: where the store lies, for the message.

        Raises:
            UserError: the run is tied to another store already.
        """
        known = self.state.stores.setdefault(key, fingerprint)
        if known != fingerprint:
            raise UserError(f"{uri}: not the clips that {self.uri} was begun with")
        self.save()

    def finish(self, stage: str, results: dict[str, Any]) -> None:
        """Record a stage's results. Invalidates later stages, because they used the old results."""
        kept: dict[str, dict[str, Any]] = {}
        for name in STAGES[: STAGES.index(stage)]:
            if name in self.state.stages:
                kept[name] = self.state.stages[name]
        self.state.stages = kept | {stage: results}
        self.state.summarised = False
        self.save()

    def conclude(self) -> None:
        """Record that the summary and the tracked run hold all that is finished."""
        self.state.summarised = True
        self.save()

    def save(self) -> None:
        """Write the state file."""
        storage.write_json(self.path(files.STATE), self.state.model_dump(mode="json"))

    def summary(self) -> dict[str, Any]:
        """Return the flat results of all finished stages together."""
        summary: dict[str, Any] = {}
        for results in self.state.stages.values():
            summary |= results
        return summary

    def _differences(self, config: Config) -> dict[str, tuple[Any, Any]]:
        """Return the settings in which the directory's run differs: key -> (there, now)."""
        try:
            saved = check(yaml.safe_load(storage.read_bytes(self.path(files.CONFIG))))
        except (ConfigError, yaml.YAMLError) as error:
            raise ConfigError(
                f"output={self.uri}: holds a run of another version ({error}); choose another"
            ) from error
        there = identity(saved)
        now = identity(config)
        differing = {}
        for key in sorted(there.keys() | now.keys()):
            if there.get(key) != now.get(key):
                differing[key] = (there.get(key), now.get(key))
        return differing

    def _refuse(self, differing: dict[str, tuple[Any, Any]]) -> None:
        """Raise ConfigError where any setting differs."""
        if not differing:
            return
        named = []
        for key, (there, now) in list(differing.items())[:NAMED_DIFFERENCES]:
            named.append(f"{key} ({there} there, {now} now)")
        text = ", ".join(named)
        if len(differing) > NAMED_DIFFERENCES:
            text += f" and {len(differing) - NAMED_DIFFERENCES} more"
        raise ConfigError(
            f"output={self.uri}: holds a run with other settings: {text}; "
            "choose another, or fresh=true"
        )

    def _move_aside(self) -> None:
        if not storage.exists(self.uri):
            return
        filesystem, path = storage.resolve(self.uri)
        aside = f"{path.rstrip('/')}.{time.strftime('%Y%m%d-%H%M%S')}"
        if isinstance(filesystem, fs.LocalFileSystem):
            filesystem.move(path, aside)
            return
        # Object storage has no rename: copy, then delete.
        fs.copy_files(path, aside, source_filesystem=filesystem, destination_filesystem=filesystem)
        filesystem.delete_dir(path)


def require_data(config: Config, ingesting: bool) -> None:
    """Make sure that there is a clip store, or something to make one of.

    Args:
        config: of the run.
        ingesting: whether an ingest is to come.

    Raises:
        ConfigError: there is neither.
    """
    data = config.data
    has_recordings = False
    if ingesting:
        for place in data.sources or ():
            if not storage.exists(place):
                raise ConfigError(f"data.raw={place}: not found")
        has_recordings = data.raw is not None or data.synthetic is not None
    if has_recordings or has_store(config):
        return
    raise ConfigError(
        f"data.raw: missing, and no whole clip store at {config.store} ({MANIFEST} is missing); "
        "give the recordings (data.raw=PATH) or a store (data.store=PATH)"
    )


def has_store(config: Config) -> bool:
    """Whether the run's clip store is whole."""
    return storage.exists(storage.join(config.store, MANIFEST))
