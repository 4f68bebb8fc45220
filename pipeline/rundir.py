"""A run is its `output` directory: what was asked for, what is done, where it is tracked."""

import time
from typing import Any, get_args

import yaml
from pyarrow import fs

from pipeline import storage
from pipeline.config import Config, Stage, check, identity, to_yaml
from pipeline.errors import ConfigError
from pipeline.session import in_submitted_job

STATE = "run.json"
CONFIG = "config.yaml"
CHECKPOINTS = "checkpoints"


def settle_places(config: Config) -> Config:
    """The configuration with every local place absolute, so that all processes of a cluster mean the same.

    Raises ConfigError where a place would be lost or cannot work: a relative output, store or sqlite path inside a
    submitted job (its working directory is a temporary copy), a remote output without a tracking server.
    """
    values = config.model_dump()
    data, tracking = values["data"], values["tracking"]
    uri = tracking["uri"]
    if in_submitted_job():
        places = {"output": values["output"], "data.store": data["store"], "tracking.uri": _sqlite_path(uri)}
        for key, place in places.items():
            if place and not storage.is_remote(place) and not place.startswith(("/", "file://", "~")):
                raise ConfigError(
                    f"{key}={place}: relative to the job's temporary directory, where it would be lost; "
                    "give an absolute path or a URI"
                )
    if storage.is_remote(values["output"]) and uri is None:
        raise ConfigError(f"output={values['output']}: a remote output needs tracking.uri (an MLflow server)")
    values["output"] = storage.absolute(values["output"])
    for key in ("raw", "store"):
        if data[key] is not None:
            data[key] = storage.absolute(data[key])
    if uri is None:
        tracking["uri"] = f"sqlite:///{values['output']}/mlflow.db"
    elif path := _sqlite_path(uri):
        tracking["uri"] = f"sqlite:///{storage.absolute(path)}"
    return check(values)


def _sqlite_path(uri: str | None) -> str | None:
    return uri.removeprefix("sqlite:///") if uri and uri.startswith("sqlite:///") else None


def require_recordings(config: Config) -> None:
    """Raise ConfigError unless there is something to ingest: recordings, a recorder of them, or a store already."""
    data = config.data
    if data.raw is not None and not storage.exists(data.raw):
        raise ConfigError(f"data.raw={data.raw}: not found")
    if data.raw is None and data.synthetic is None and not storage.exists(config.store):
        raise ConfigError("data.raw: missing; give the recordings (data.raw=PATH) or a clip store (data.store=PATH)")


class RunDir:
    """The output directory of a run and its small state file, written whole after every change.

    state: `stages` (results of each finished one), `summarised` (whether the summary holds them all), `mlflow_run_id`,
    `cache` (of the stream that training began with), `fingerprint` (of the clip store).
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
            run._move_aside()
        if storage.exists(run.path(CONFIG)):
            if storage.exists(run.path(STATE)):
                run.state = storage.read_json(run.path(STATE))
            # Where nothing was finished or trained yet, a corrected request may take the place.
            if run.state["stages"] or storage.exists(run.path(CHECKPOINTS)):
                run._require_same(config)
        elif storage.is_directory(run.uri) and storage.files(run.uri):
            raise ConfigError(f"output={run.uri}: holds files but no run; choose another, or fresh=true moves it aside")
        return run

    def begin(self, config: Config) -> None:
        """Write what was asked for: from here on the directory is this run's."""
        storage.write_bytes(self.path(CONFIG), to_yaml(config).encode())

    def path(self, *parts: str) -> str:
        return storage.join(self.uri, *parts)

    def results(self, stage: str) -> dict[str, Any] | None:
        """What a finished stage reported, None where it is not finished."""
        return self.state["stages"].get(stage)

    def finish(self, stage: str, results: dict[str, Any]) -> None:
        """Record a stage's results. Later stages had not seen them: what they did is forgotten, they come again."""
        stages = get_args(Stage)
        before = stages[: stages.index(stage)]
        done = self.state["stages"]
        self.state["stages"] = {name: done[name] for name in before if name in done} | {stage: results}
        self.state["summarised"] = False
        self.save()

    def save(self) -> None:
        storage.write_json(self.path(STATE), self.state)

    def summary(self) -> dict[str, Any]:
        """The flat results of all finished stages together."""
        return {key: value for results in self.state["stages"].values() for key, value in results.items()}

    def _require_same(self, config: Config) -> None:
        try:
            before = identity(check(yaml.safe_load(storage.read_bytes(self.path(CONFIG)))))
        except (ConfigError, yaml.YAMLError) as error:
            raise ConfigError(f"output={self.uri}: holds a run of another version ({error}); choose another") from error
        now = identity(config)
        differing = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        if differing:
            shown = ", ".join(f"{key} ({before.get(key)} there, {now.get(key)} now)" for key in differing[:5])
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
            fs.copy_files(path, aside, source_filesystem=filesystem, destination_filesystem=filesystem)
            filesystem.delete_dir(path)
