"""What an output directory holds for MLflow: for a run that is made anew."""

from dataclasses import dataclass, field

from pipeline.core import storage
from pipeline.runs import files
from pipeline.runs.directory import RunDirectory
from pipeline.runs.metric_rows import Row, read_rows
from pipeline.runs.tracking.thinning import Thinning

# The files that stages copy to MLflow, and their folders there. The configuration is there from the
# beginning, so that a run that failed can be run again, too.
TOP_FILES = (files.CONFIG, files.REPORT, files.TABLE, files.TABLE_PLOT, files.COMPARISON)
FOLDERS = (files.ENCODER, files.FIGURES, files.CARD)
# What a reader of an encoder needs. Other files in its folder are exports that a user made.
ENCODER_FILES = ("config.json", "model.safetensors")


@dataclass(frozen=True)
class Contents:
    """What an output directory holds for MLflow, apart from the results of its stages.

    Attributes:
        rows: of metrics.
        artifacts: the folder in MLflow -> the paths of files. The folder None is the top one.
    """

    rows: list[Row] = field(default_factory=list)
    artifacts: dict[str | None, list[str]] = field(default_factory=dict)


def contents_of_run(directory: RunDirectory) -> Contents:
    """Return what the directory of a run holds."""
    return Contents(training_rows(directory), artifacts(directory))


def contents_of_trial(directory: RunDirectory, updates: int | None) -> Contents:
    """Return what the directory of a trial holds: some of its rows, and its configuration.

    Hundreds of encoders would fill the place of the artifacts. They stay in their directories.

    Args:
        directory: of the trial.
        updates: see `Thinning`.
    """
    thinning = Thinning(updates)
    rows = thinning.take(training_rows(directory))
    config = directory.path(files.CONFIG)
    return Contents(rows, {None: [config] if storage.exists(config) else []})


def training_rows(directory: RunDirectory) -> list[Row]:
    """Return the rows of metrics of the training, none if the run has not begun to train.

    Without a checkpoint the rows may be those of an earlier configuration.
    """
    trained = directory.results("pretrain") is not None
    if trained or storage.exists(directory.path(files.CHECKPOINTS)):
        return read_rows(directory.path(files.METRICS))
    return []


def artifacts(directory: RunDirectory) -> dict[str | None, list[str]]:
    """Return the files that stages have left: the folder in MLflow -> their paths.

    The folder None is the top one. The summary comes at the end of a run.
    """
    found: dict[str | None, list[str]] = {}
    top = []
    for name in TOP_FILES:
        if storage.exists(directory.path(name)):
            top.append(directory.path(name))
    found[None] = top
    for folder in FOLDERS:
        paths = []
        for entry in storage.files(directory.path(folder)):
            name = storage.name(entry.path)
            if folder != files.ENCODER or name in ENCODER_FILES:
                paths.append(directory.path(folder, name))
        found[folder] = paths
    return found
