"""The output directory of a run, from which the same command goes on after an interruption."""

import threading
from typing import Any

import yaml

from pipeline.config.identity import differences, named
from pipeline.config.root import STAGES, Config, check, to_yaml
from pipeline.core import storage
from pipeline.core.console import say
from pipeline.core.errors import ConfigError, UserError
from pipeline.runs import files
from pipeline.runs.aside import foreign_names, move_aside, require_movable
from pipeline.runs.election import is_record
from pipeline.runs.owner import Ownership
from pipeline.runs.owner_record import new_attempt
from pipeline.runs.state import RunState, read_state
from pipeline.store.manifest import MANIFEST


class RunDirectory:
    """The output directory of a run, with its state file.

    Attributes:
        uri: the path or URI of the directory.
        state: the content of the state file.
        moved_aside: where `begin` put the earlier run, None if there was none.
        owner: this process's ownership of the directory; None while it only reads.
        is_read_only: whether another process writes the directory's files of the run.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.state = RunState()
        self.moved_aside: str | None = None
        self.owner: Ownership | None = None
        self.is_read_only = False
        # The threads of a sweep's driver write one after another.
        self._saving = threading.Lock()

    @classmethod
    def reading(cls, uri: str) -> "RunDirectory":
        """Read the directory of a run that another process writes.

        What this process records it keeps in memory: nothing is written.

        Raises:
            ConfigError: the state file was written by a later version, or a value in it is wrong.
        """
        directory = cls(uri)
        directory.is_read_only = True
        directory.state = read_state(directory.path(files.STATE)) or RunState()
        return directory

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
            if directory._holds_files():
                require_movable(directory.uri)
            return directory
        if not storage.exists(directory.path(files.CONFIG)):
            if directory._holds_files():
                raise ConfigError(f"output={directory.uri}: holds files but no run; choose another")
            return directory
        state = read_state(directory.path(files.STATE))
        is_lost = state is None
        if state is None:
            state = RunState()
        differing = differences(saved_config(config.output), config)
        if is_lost or state.stages or storage.exists(directory.path(files.CHECKPOINTS)):
            directory._refuse(differing)
            directory.state = state
            if is_lost:
                say(
                    f"  {directory.path(files.STATE)}: damaged, and counts as missing: "
                    "finished stages run again, training goes on from its checkpoint"
                )
        elif not differing:
            # No stage was finished and no step trained. Only the run in MLflow is used again.
            directory.state.mlflow_run_id = state.mlflow_run_id
            directory.state.mlflow_uri = state.mlflow_uri
        return directory

    def begin(self, config: Config, owner: Ownership | None = None) -> None:
        """Write the configuration. From now on the directory belongs to this run.

        With `config.fresh` an earlier run is moved aside first.

        Args:
            config: the settings of the run.
            owner: this process's ownership of the directory.
        """
        self.owner = owner
        if config.fresh:
            self._move_aside()
        storage.write_bytes(self.path(files.CONFIG), to_yaml(config).encode())

    @property
    def attempt(self) -> str:
        """The name of this attempt to run. No other attempt has it."""
        if self.owner is None:
            return new_attempt()
        return self.owner.attempt

    def path(self, *parts: str) -> str:
        """Return the path of a file or folder in the directory."""
        return storage.join(self.uri, *parts)

    def unfinished(self, config: Config) -> list[str]:
        """Return the stages to run: the first unfinished stage of the request, and all after it.

        The stages after an unfinished one run again, because they use its results. The stage
        `sweep` always runs: its own records say which trials are missing.

            asked for: ingest  pretrain  evaluate  report
            finished:  ingest            evaluate
            to run:            pretrain  evaluate  report
        """
        stages = config.ordered_stages
        for number, stage in enumerate(stages):
            finished = self.results(stage) is not None
            if not finished or self._is_lost(stage, config) or stage == "sweep":
                return stages[number:]
        return []

    def _is_lost(self, stage: str, config: Config) -> bool:
        """True if what a finished stage made is gone since, or damaged, and can be made again."""
        if stage == "ingest":
            return not has_store(config.store)
        exports = [self.path(name, files.ENCODER_CARD) for name in files.ENCODERS]
        has_exports = all(storage.read_object(card) is not None for card in exports)
        if stage == "pretrain":
            # Only the export is made again, and only from a checkpoint: nobody wants to train anew
            # because a folder is missing.
            checkpoints = self.path(files.CHECKPOINTS)
            return not has_exports and bool(storage.files(checkpoints, recursive=True))
        if stage == "evaluate":
            return has_exports and storage.read_object(self.path(files.EVALUATION)) is None
        return False

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
            raise UserError(
                f"{uri}: not the clips that {self.uri} was begun with; choose another output"
            )
        self.state.places[key] = uri
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

    def require_owned(self) -> None:
        """Check that no other process has taken the directory over since `begin`.

        Raises:
            UserError: one has.
        """
        if self.owner is not None:
            self.owner.require()

    def verify_owned(self) -> None:
        """Check that the directory belongs to this process at this very moment.

        Raises:
            UserError: it belongs to another one, or the storage does not answer.
        """
        if self.owner is not None:
            self.owner.verify()

    def save(self) -> None:
        """Write the state file. Any thread may call it.

        Raises:
            UserError: another process has taken the directory over, or the file cannot be written.
        """
        if self.is_read_only:
            return
        self.require_owned()
        with self._saving:
            storage.write_json(self.path(files.STATE), self.state.model_dump(mode="json"))

    def summary(self) -> dict[str, Any]:
        """Return the results of all finished stages as one flat mapping."""
        summary: dict[str, Any] = {}
        for results in self.state.stages.values():
            summary |= results
        return summary

    def _refuse(self, differing: dict[str, tuple[Any, Any]]) -> None:
        """Raise ConfigError if any setting differs."""
        if differing:
            raise ConfigError(
                f"output={self.uri}: holds a run with other settings: {named(differing)}; "
                "choose another, or fresh=true"
            )

    def _holds_files(self) -> bool:
        """True if there is anything in the directory, apart from the records of owners."""
        return any(not is_record(name) for name in foreign_names(self.uri))

    def _move_aside(self) -> None:
        if not self._holds_files():
            return
        if self.owner is None:
            self._move()
            return
        with self.owner.moving():
            self._move()
        if self.moved_aside is not None:
            # The record went along. Nobody works on the earlier run.
            storage.delete([storage.join(self.moved_aside, files.OWNER)])

    def _move(self) -> None:
        self.moved_aside = move_aside(self.uri)


def saved_config(output: str) -> Config:
    """Return the configuration of the run in a directory.

    Raises:
        ConfigError: it is damaged, or of another version.
        UserError: there is none.
    """
    location = storage.join(output, files.CONFIG)
    content = storage.read_bytes(location)
    try:
        values = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise ConfigError(
            f"{location}: damaged, and nothing else says with which settings this run began; "
            "choose another output, or move this one away"
        )
    try:
        return check(values)
    except ConfigError as error:
        raise ConfigError(
            f"output={output}: holds a run of another version ({error}); choose another"
        ) from error


def require_data(config: Config, ingesting: bool) -> None:
    """Check that the run has a clip store, or recordings to make one of.

    Args:
        config: the configuration of the run.
        ingesting: whether the run is going to ingest recordings.

    Raises:
        ConfigError: the run has neither, or its recordings do not exist.
    """
    if ingesting:
        for place in config.data.sources or ():
            if not storage.exists(place):
                raise ConfigError(f"data.raw={place}: not found")
        if has_recordings(config):
            return
    if has_store(config.store):
        return
    raise ConfigError(
        f"data.raw: missing, and no whole clip store at {config.store} ({MANIFEST} is missing); "
        "give the recordings (data.raw=PATH) or a store (data.store=PATH)"
    )


def has_recordings(config: Config) -> bool:
    """True if the recordings of a run are there, or can be made by the synthetic recorder."""
    if config.data.sources is None:
        return config.data.synthetic is not None
    return all(storage.exists(place) for place in config.data.sources)


def has_store(uri: str) -> bool:
    """True if a complete clip store is at `uri`. Its manifest is written last."""
    return storage.exists(storage.join(uri, MANIFEST))
