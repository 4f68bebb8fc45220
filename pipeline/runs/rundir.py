"""A run is its `output` directory: what was asked for, what is done, where it is tracked."""

import os
import time
from typing import Any, get_args

import yaml
from pyarrow import fs

from pipeline.cluster.session import in_submitted_job
from pipeline.config.schema import Config, Stage, check, identity, to_yaml
from pipeline.core import storage
from pipeline.core.errors import ConfigError, UserError
from pipeline.core.paths import ROOT
from pipeline.ingest import names
from pipeline.store.clip_store import MANIFEST, ClipStore

STATE = "run.json"
CONFIG = "config.yaml"
CHECKPOINTS = "checkpoints"


def settle_places(config: Config) -> Config:
    """The configuration with every local place absolute, so that all processes of a cluster mean the same.

    Raises ConfigError where a place would be lost or cannot work: a relative output, store or sqlite path inside a
    submitted job (its working directory is a temporary copy), a remote output without a tracking server.
    """
    values = config.model_dump()
    data, tracking, ablate = values["data"], values["tracking"], values["ablate"] or {}
    uri = tracking["uri"]
    if in_submitted_job():
        places = {
            "output": values["output"],
            "data.store": data["store"],
            "tracking.uri": _sqlite_path(uri),
        }
        places |= {f"ablate.{key}": ablate.get(key) for key in ("results", "page")}
        for key, place in places.items():
            if (
                place
                and not storage.is_remote(place)
                and not place.startswith(("/", "file://", "~"))
            ):
                raise ConfigError(
                    f"{key}={place}: relative to the job's temporary directory, where it would be lost; "
                    "give an absolute path or a URI"
                )
    if storage.is_remote(values["output"]) and uri is None:
        raise ConfigError(
            f"output={values['output']}: a remote output needs tracking.uri (an MLflow server)"
        )
    values["output"] = storage.absolute(values["output"])
    if isinstance(data["raw"], list):
        data["raw"] = [storage.absolute(place) for place in data["raw"]]
    for key in ("raw", "store"):
        if isinstance(data[key], str):
            data[key] = storage.absolute(data[key])
    for key in ("results", "page"):
        if key in ablate:
            place = (
                ablate[key]
                if storage.is_remote(ablate[key])
                else str(ROOT / os.path.expanduser(ablate[key]))
            )
            ablate[key] = storage.absolute(place)
    for pooled in data["pool"]:
        pooled["store"] = storage.absolute(pooled["store"])
    if data["left_out"] is not None:
        data["left_out"] = names.settled(data["left_out"])
    if uri is None:
        tracking["uri"] = f"sqlite:///{values['output']}/mlflow.db"
    elif path := _sqlite_path(uri):
        tracking["uri"] = f"sqlite:///{storage.absolute(path)}"
    return check(values)


def _sqlite_path(uri: str | None) -> str | None:
    return uri.removeprefix("sqlite:///") if uri and uri.startswith("sqlite:///") else None


def require_data(config: Config, ingesting: bool) -> None:
    """Raise ConfigError unless there is a clip store, or, where the stage is to come, something to ingest."""
    data = config.data
    for place in data.sources or () if ingesting else ():
        if not storage.exists(place):
            raise ConfigError(f"data.raw={place}: not found")
    recordings = ingesting and (data.raw is not None or data.synthetic is not None)
    if not recordings and not has_store(config):
        what = f"no whole clip store at {config.store} ({MANIFEST} is missing)"
        raise ConfigError(
            f"data.raw: missing, and {what}; give the recordings (data.raw=PATH) or a store (data.store=PATH)"
        )


def has_store(config: Config) -> bool:
    return storage.exists(storage.join(config.store, MANIFEST))


class RunDir:
    """The output directory of a run and its small state file, written whole after every change.

    state: `stages` (results of each finished one), `summarised` (whether the summary holds them all), `mlflow_run_id`,
    `seconds` (of each stage, as it last ran), `cache` (of the stream that training began with), `fingerprint` (of the
    clip store), `pool_N` (of further stores).
    """

    def __init__(self, config: Config):
        self.uri = config.output
        self.state: dict[str, Any] = {"stages": {}}

    @classmethod
    def open(cls, config: Config) -> "RunDir":
        """Start a run, or take up the one that `output` holds.

        Raises ConfigError naming the keys in which `output` holds another run.
        """
        run = cls(config)
        if config.fresh:
            return run
        if storage.exists(run.path(CONFIG)):
            state = (
                storage.read_json(run.path(STATE)) if storage.exists(run.path(STATE)) else run.state
            )
            differing = run._differing(config)
            if state["stages"] or storage.exists(run.path(CHECKPOINTS)):
                run._refuse(differing)
                run.state = state
            elif (
                not differing
            ):  # Nothing was finished or trained: all that is worth keeping is the tracked run.
                run.state |= {key: state[key] for key in ("mlflow_run_id",) if key in state}
        elif storage.is_directory(run.uri) and storage.files(run.uri):
            raise ConfigError(
                f"output={run.uri}: holds files but no run; choose another, or fresh=true moves it aside"
            )
        return run

    def begin(self, config: Config) -> None:
        """Write what was asked for: the directory is this run's now; with `fresh` an earlier one moves aside."""
        if config.fresh:
            self._move_aside()
        storage.write_bytes(self.path(CONFIG), to_yaml(config).encode())

    def path(self, *parts: str) -> str:
        return storage.join(self.uri, *parts)

    def unfinished(self, config: Config) -> list[str]:
        """The stages to run: of those asked for the first that is not finished, and all after it.

        An ablation is always run: what there is to do for it its cells know.
        """
        stages = config.ordered_stages
        done = [
            self.results(stage) is not None
            and (stage != "ingest" or has_store(config))
            and stage != "ablate"
            for stage in stages
        ]
        return stages[done.index(False) :] if False in done else []

    def conclude(self) -> None:
        """Record that summary and tracked run hold all that is finished."""
        self.state["summarised"] = True
        self.save()

    def results(self, stage: str) -> dict[str, Any] | None:
        """What a finished stage reported, None where it is not finished."""
        return self.state["stages"].get(stage)

    def claim(self, key: str, store: ClipStore) -> None:
        """Tie the run to a clip store by its content, kept as `key`; UserError where it is tied to another already."""
        if self.state.setdefault(key, store.fingerprint) != store.fingerprint:
            raise UserError(f"{store.uri}: not the clips that {self.uri} was begun with")
        self.save()

    def finish(self, stage: str, results: dict[str, Any]) -> None:
        """Record a stage's results. Later stages had not seen them: what they did is forgotten, they come again."""
        stages = get_args(Stage)
        before = stages[: stages.index(stage)]
        done = self.state["stages"]
        self.state["stages"] = {name: done[name] for name in before if name in done} | {
            stage: results
        }
        self.state["summarised"] = False
        self.save()

    def save(self) -> None:
        storage.write_json(self.path(STATE), self.state)

    def summary(self) -> dict[str, Any]:
        """The flat results of all finished stages together."""
        return {
            key: value
            for results in self.state["stages"].values()
            for key, value in results.items()
        }

    def _differing(self, config: Config) -> dict[str, tuple[Any, Any]]:
        """The settings in which the saved configuration is another than `config`: key -> (there, now)."""
        try:
            there = identity(check(yaml.safe_load(storage.read_bytes(self.path(CONFIG)))))
        except (ConfigError, yaml.YAMLError) as error:
            raise ConfigError(
                f"output={self.uri}: holds a run of another version ({error}); choose another"
            ) from error
        now = identity(config)
        keys = sorted(there.keys() | now.keys())
        return {
            key: (there.get(key), now.get(key)) for key in keys if there.get(key) != now.get(key)
        }

    def _refuse(self, differing: dict[str, tuple[Any, Any]]) -> None:
        if differing:
            shown = ", ".join(
                f"{key} ({there} there, {now} now)"
                for key, (there, now) in list(differing.items())[:5]
            )
            more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
            raise ConfigError(
                f"output={self.uri}: holds a run with other settings: {shown}{more}; choose another, or fresh=true"
            )

    def _move_aside(self) -> None:
        if not storage.exists(self.uri):
            return
        filesystem, path = storage.resolve(self.uri)
        aside = f"{path.rstrip('/')}.{time.strftime('%Y%m%d-%H%M%S')}"
        if isinstance(filesystem, fs.LocalFileSystem):
            filesystem.move(path, aside)
        else:  # Object storage has no rename: copy, then delete.
            fs.copy_files(
                path, aside, source_filesystem=filesystem, destination_filesystem=filesystem
            )
            filesystem.delete_dir(path)
