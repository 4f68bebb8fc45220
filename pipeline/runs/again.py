"""A recorded run, again: the request for it, checked against what it recorded.

The configuration of the record becomes a command line (`pipeline.config.command_line`), to which
the other settings of the request are added. From there on nothing is special about the run. It goes
into a directory of its own, and it must find the clips that the recorded run had.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

from pipeline.cluster.job import reach_storage
from pipeline.config.command_line import command_of
from pipeline.config.compose import FROM_RUN, Request, key_of, load
from pipeline.config.identity import differences
from pipeline.config.own_files import plain_mapping
from pipeline.config.places import settle_places
from pipeline.config.root import Config, check
from pipeline.core import storage
from pipeline.core.console import say
from pipeline.core.errors import ConfigError
from pipeline.runs.code_version import DIRTY, code_version
from pipeline.runs.directory import has_store
from pipeline.runs.relations import is_same
from pipeline.runs.tracking.search import RecordedRun
from pipeline.runs.tracking.tags import FINGERPRINT, OUTPUT
from pipeline.store.manifest import read_manifest

# The settings of `data` that decide which clips a store holds.
OF_THE_STORE = (
    "reader",
    "dataset",
    "left_out",
    "coordinates",
    "persons",
    "preparation",
    "files_per_shard",
    "classes",
    "synthetic",
    "skeleton",
)
# Where these clips are: of no use to a request for others.
PLACES_OF_CLIPS = ("data.raw", "data.store")
# The tags of the versions of libraries, and the libraries.
LIBRARIES = {"torch.version": "torch", "ray.version": "ray"}
# So much of a run's id tells it from others in the name of a directory.
SHORT_ID = 8


@dataclass(frozen=True)
class Repetition:
    """A recorded run, and what a request wants to be different.

    Attributes:
        record: what MLflow holds of the run.
        own: the settings of the request.
        config_dir: of the request.
    """

    record: RecordedRun
    own: Sequence[str]
    config_dir: str | None

    def request(self, quiet: bool) -> Request:
        """Return the request for the run."""
        recorded = recorded_config(self.record)
        config_dir = self.config_dir
        if config_dir is None and os.path.isdir(self.record.config_dir or ""):
            config_dir = self.record.config_dir
        command = command_of(recorded, self.record.command, config_dir)
        asked = settle_places(load([*command, *self.own], config_dir), in_job=False)
        reach_storage(asked.cluster.storage_endpoint)
        same_clips = _ask_for_same_clips(recorded, asked)
        if not same_clips:
            command = [word for word in command if key_of(word) not in PLACES_OF_CLIPS]
        placed = self._places(recorded, same_clips)
        request = Request((*command, *placed, *self.own), config_dir)
        config = settle_places(load(request.overrides, config_dir), in_job=False)
        self._require_another_output(recorded, config)
        expected = self.record.tags.get(FINGERPRINT)
        if expected is not None and same_clips:
            self._require_clips(config, expected)
            request = replace(request, clips=expected)
        if not quiet:
            self._announce(recorded, config)
        return request

    def _places(self, recorded: Config, same_clips: bool) -> list[str]:
        """Return settings for an output of its own, and for the clip store if it is still there."""
        output = f"${{oc.env:SKELFUSE_STORAGE,outputs}}/${{name}}-{self.record.run_id[:SHORT_ID]}"
        placed = [f"output={output}"]
        store = self._store_of(recorded)
        fingerprint = self.record.tags.get(FINGERPRINT)
        if same_clips and has_store(store) and fingerprint in (None, _fingerprint(store)):
            placed.append(f"data.store={store}")
            sources = recorded.data.sources
            if sources is not None and not all(storage.exists(place) for place in sources):
                # The stage `ingest` looks at recordings where they are named.
                placed.append("data.raw=null")
        return placed

    def _output_of(self, recorded: Config) -> str:
        """Return where the recorded run is. Its directory may have moved."""
        return self.record.tags.get(OUTPUT, recorded.output)

    def _store_of(self, recorded: Config) -> str:
        """Return where the clip store of the recorded run is."""
        return recorded.model_copy(update={"output": self._output_of(recorded)}).store

    def _require_another_output(self, recorded: Config, config: Config) -> None:
        """Raise ConfigError for an output that is that of the recorded run."""
        if is_same(self._output_of(recorded), config.output):
            raise ConfigError(
                f"output={config.output}: holds the recorded run {self.record.run_id}; "
                "choose another"
            )

    def _require_clips(self, config: Config, expected: str) -> None:
        """Raise ConfigError if the store that the request names holds other clips."""
        if not has_store(config.store):
            return
        found = _fingerprint(config.store)
        if found != expected:
            raise ConfigError(
                f"data.store={config.store}: holds other clips (fingerprint {found[:8]}) than "
                f"the recorded run {self.record.run_id} had ({expected[:8]})"
            )

    def _announce(self, recorded: Config, config: Config) -> None:
        """Say which run is made again, and in what it will differ from the recorded one."""
        record = self.record
        say(f"{FROM_RUN}: {record.name} ({record.run_id}, {record.status})")
        for key, (there, now) in differences(recorded, config).items():
            say(f"  {key}: recorded {there}, now {now}")
        then = record.tags.get("code.version", "unknown")
        if then != code_version():
            say(f"  code: recorded {then}, now {code_version()}")
        elif then.endswith(DIRTY):
            say(f"  code: recorded {then}, whose changes are in no commit")
        for tag, library in LIBRARIES.items():
            then = record.tags.get(tag, "unknown")
            if then != version(library):
                say(f"  {library}: recorded {then}, now {version(library)}")


def recorded_config(record: RecordedRun) -> Config:
    """Return the configuration of a recorded run.

    Raises:
        ConfigError: it is not plain YAML, or of another version.
    """
    name = f"{FROM_RUN}={record.run_id}: its config.yaml"
    values = plain_mapping(record.config.encode(), name)
    try:
        return check(values)
    except ConfigError as error:
        raise ConfigError(f"{name} is of another version ({error})") from None


def _ask_for_same_clips(recorded: Config, asked: Config) -> bool:
    """True unless a request changes a setting that decides which clips a store holds."""
    for key in OF_THE_STORE:
        if getattr(recorded.data, key) != getattr(asked.data, key):
            return False
    # Synthetic recordings are made with the seed of the run. A store that was named stays.
    makes_recordings = recorded.data.sources is None and recorded.data.store is None
    return recorded.seed == asked.seed or not makes_recordings


def _fingerprint(store: str) -> str:
    return str(read_manifest(store)["fingerprint"])
