"""The output directory of a run, from which the same command goes on after an interruption."""

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

# A message names so many settings, and counts the others.
NAMED_DIFFERENCES = 5


class RunDirectory:
    """The output directory of a run, with its state file.

    Attributes:
        uri: the path or URI of the directory.
        state: the content of the state file.
        moved_aside: where `begin` put the earlier run, None if there was none.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.state = RunState()
        self.moved_aside: str | None = None

    @classmethod
    def open(cls, config: Config) -> "RunDirectory":
        """Open an empty directory, or the directory of a run that is to go on.

        This writes nothing.

        Args:
            config: the settings of the run. `config.output` is the directory.

        Raises:
            ConfigError: the directory holds other files, or a run with other settings. The message
                names the settings.
        """
        directory = cls(config.output)
        # `begin` will move the earlier run aside, so its state does not matter.
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
            # No stage was finished and no step trained. Only the run in MLflow is used again.
            directory.state.mlflow_run_id = state.mlflow_run_id
            directory.state.mlflow_uri = state.mlflow_uri
        return directory

    def begin(self, config: Config) -> None:
        """Write the configuration. From now on the directory belongs to this run.

        With `config.fresh` an earlier run is moved aside first.
        """
        if config.fresh:
            self._move_aside()
        storage.write_bytes(self.path(files.CONFIG), to_yaml(config).encode())

    def path(self, *parts: str) -> str:
        """Return the path of a file or folder in the directory."""
        return storage.join(self.uri, *parts)

    def unfinished(self, config: Config) -> list[str]:
        """Return the stages to run: the first unfinished stage of the request, and all after it.

        The stages after an unfinished one run again, because they use its results. The ablation
        stage always runs; each of its cells decides whether it is up to date.

            asked for: ingest  pretrain  evaluate  report
            finished:  ingest            evaluate
            to run:            pretrain  evaluate  report
        """
        stages = config.ordered_stages
        for number, stage in enumerate(stages):
            finished = self.results(stage) is not None
            # The user may have deleted the store since the ingest.
            lost = stage == "ingest" and not has_store(config.store)
            if not finished or lost or stage == "ablate":
                return stages[number:]
        return []

    def results(self, stage: str) -> dict[str, Any] | None:
        """Return the results of a stage, None if it is not finished."""
        return self.state.stages.get(stage)

    def claim(self, key: str, fingerprint: str, uri: str) -> None:
        """Record which clips the run uses, or check that they are still the same.

        Args:
            key: the name of the store in `RunState.stores`.
            fingerprint: a hash of the content of the store.
            uri: the path of the store, for the message.

        Raises:
            UserError: the run began with other clips.
        """
        known = self.state.stores.setdefault(key, fingerprint)
        if known != fingerprint:
            raise UserError(f"{uri}: not the clips that {self.uri} was begun with")
        self.save()

    def finish(self, stage: str, results: dict[str, Any]) -> None:
        """Record the results of a stage, and forget later stages, which used the old results."""
        kept: dict[str, dict[str, Any]] = {}
        for name in STAGES[: STAGES.index(stage)]:
            if name in self.state.stages:
                kept[name] = self.state.stages[name]
        self.state.stages = kept | {stage: results}
        self.state.summarised = False
        self.save()

    def conclude(self) -> None:
        """Record that the summary and MLflow have the results of all finished stages."""
        self.state.summarised = True
        self.save()

    def save(self) -> None:
        """Write the state file."""
        storage.write_json(self.path(files.STATE), self.state.model_dump(mode="json"))

    def summary(self) -> dict[str, Any]:
        """Return the results of all finished stages as one flat mapping."""
        summary: dict[str, Any] = {}
        for results in self.state.stages.values():
            summary |= results
        return summary

    def _differences(self, config: Config) -> dict[str, tuple[Any, Any]]:
        """Return the settings that differ from those in the directory: key -> (there, now)."""
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
        """Raise ConfigError if any setting differs."""
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
            self.moved_aside = aside
            return
        # Object storage has no rename: copy, then delete.
        fs.copy_files(path, aside, source_filesystem=filesystem, destination_filesystem=filesystem)
        filesystem.delete_dir(path)


def require_data(config: Config, ingesting: bool) -> None:
    """Check that the run has a clip store, or recordings to make one of.

    Args:
        config: the configuration of the run.
        ingesting: whether the run is going to ingest recordings.

    Raises:
        ConfigError: the run has neither, or its recordings do not exist.
    """
    data = config.data
    has_recordings = False
    if ingesting:
        for place in data.sources or ():
            if not storage.exists(place):
                raise ConfigError(f"data.raw={place}: not found")
        has_recordings = data.raw is not None or data.synthetic is not None
    if has_recordings or has_store(config.store):
        return
    raise ConfigError(
        f"data.raw: missing, and no whole clip store at {config.store} ({MANIFEST} is missing); "
        "give the recordings (data.raw=PATH) or a store (data.store=PATH)"
    )


def has_store(uri: str) -> bool:
    """True if a complete clip store is at `uri`. Its manifest is written last."""
    return storage.exists(storage.join(uri, MANIFEST))
