"""The stage `report`: what the earlier stages left in `output`, as figures and on one page."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from pipeline.core import storage
from pipeline.core.console import percent, say
from pipeline.pages.skeletons import skeletons
from pipeline.pages.style import png
from pipeline.report import figures
from pipeline.report.groups import GroupFigures, figures_by_group
from pipeline.report.page import page
from pipeline.runs import files, metric_names
from pipeline.runs.metric_names import random_start
from pipeline.runs.metric_rows import Row, read_rows
from pipeline.runs.resolved import ResolvedRun
from pipeline.runs.saved_features import SavedFeatures, read_curves
from pipeline.store.samples import choose_clips, longer_half

if TYPE_CHECKING:  # MLflow takes more than a second to import.
    from pipeline.runs.tracking import Tracker

MAPPED_CLIPS = 1500  # t-SNE of more takes minutes and shows no more
STRIP_CLIPS = 4


def report(run: ResolvedRun, tracker: "Tracker") -> dict[str, Any]:
    """Draw the data, and pretraining and evaluation where these stages have run.

    Writes `figures/*.png` and `report.html`, and logs them to MLflow.

    Args:
        run: the run, with a clip store.
        tracker: the tracked run.

    Returns:
        Where the page is, for the summary.
    """
    directory = run.directory
    drawn = {"skeletons": draw_skeletons(run)}
    groups: dict[str, list[GroupFigures]] = {}
    if directory.results("pretrain") is not None:
        rows = read_rows(directory.path(files.METRICS))
        if rows:
            drawn["losses"] = draw_losses(run, rows)
        else:
            say(f"  {files.METRICS} holds no rows: the losses are not drawn")
    if directory.results("evaluate") is not None:
        saved = read_saved_features(run)
        drawn |= draw_evaluation(run, saved)
        groups = figures_by_group(run.index, saved)
    images = {name: png(figure) for name, figure in drawn.items()}
    pictures = []
    for name, image in images.items():
        uri = directory.path(files.FIGURES, f"{name}.png")
        storage.write_bytes(uri, image)
        pictures.append(uri)
    location = directory.path(files.REPORT)
    storage.write_bytes(location, page(run.config, directory.summary(), images, groups))
    tracker.artifacts(pictures, files.FIGURES)
    tracker.artifacts([location])
    say(f"  {len(images)} figures, all in {location}")
    return {"report": location}


def read_saved_features(run: ResolvedRun) -> dict[str, SavedFeatures]:
    """What evaluation left of both encoders, the pretrained one first."""
    saved = {}
    for name in (files.ENCODER, files.RANDOM_ENCODER):
        uri = run.directory.path(files.FEATURES, f"{name}.safetensors")
        saved[name] = SavedFeatures.read(uri)
    return saved


def draw_skeletons(run: ResolvedRun) -> Figure:
    """A few clips as recorded."""
    title = f"{run.config.data.dataset}: clips as recorded"
    return skeletons(clips_of_strip(run), run.recorded_layout, title)


def clips_of_strip(run: ResolvedRun) -> list[tuple[str, np.ndarray]]:
    """Choose clips for the strips of skeletons.

    Returns:
        Name and coordinates [T, M, V, 3] of a few clips of different actions. The first shows
        several persons, where the store has such clips.
    """
    index = run.index
    names = class_names(run)
    # A clip of one frame is no strip. Rows of a store are in random order, so that the first ones
    # are a fair choice.
    candidates = longer_half(index)
    actions = len(np.unique(index.label[candidates]))
    clips = []
    for row in choose_clips(index, candidates, min(STRIP_CLIPS, actions), crowded=1).tolist():
        label = int(index.label[row])
        action = names.get(label, f"action {label}")
        clips.append((f"{action}   {index.clip_id[row]}", run.recorded_store.clip(row)))
    return clips


def draw_losses(run: ResolvedRun, rows: list[Row]) -> Figure:
    """The losses of pretraining, from the rows of metrics."""
    config = run.config
    title = f"Pretraining loss: {config.name}, objective {config.objective.name}"
    return figures.losses(rows, title)


def draw_evaluation(run: ResolvedRun, saved: Mapping[str, SavedFeatures]) -> dict[str, Figure]:
    """The figures about evaluation, by their names on the page."""
    labels = saved[files.ENCODER].labels
    data = run.config.data
    what = f"{data.dataset} {data.protocol}"
    return {
        "probe": _draw_probe(run, f"{what}, {len(labels):,} test clips"),
        "embedding": _draw_embedding(run, saved, what),
        "confusion": figures.confusion(
            labels,
            saved[files.ENCODER].linear,
            class_names(run),
            f"Linear probe, % of each action: {what}",
        ),
    }


def _draw_probe(run: ResolvedRun, what: str) -> Figure:
    results = run.directory.results("evaluate") or {}
    curves = read_curves(run.directory.path(files.EVALUATION))
    accuracies = {name: curves[name] for name in files.ENCODERS}
    return figures.probe_curves(accuracies, f"Linear evaluation ({results['probe']}): {what}")


def _draw_embedding(run: ResolvedRun, saved: Mapping[str, SavedFeatures], what: str) -> Figure:
    results = run.directory.results("evaluate") or {}
    config = run.config
    labels = saved[files.ENCODER].labels
    shuffled = np.random.default_rng(config.seed).permutation(len(labels))
    shown = np.sort(shuffled[:MAPPED_CLIPS])
    # The random start is on the left: what training changed reads from left to right.
    features = {}
    for name in (files.RANDOM_ENCODER, files.ENCODER):
        features[name] = saved[name].features[shown]
    knn = f"{config.evaluate.knn.k}-NN"
    notes = {
        files.ENCODER: f"{knn} {percent(results[metric_names.KNN])}",
        files.RANDOM_ENCODER: f"{knn} {percent(results[random_start(metric_names.KNN)])}",
    }
    title = f"Features by action (t-SNE): {what}, {len(shown):,} test clips"
    return figures.embedding(features, labels[shown], class_names(run), notes, config.seed, title)


def class_names(run: ResolvedRun) -> dict[int, str]:
    """Label -> name, empty where the configuration has no names."""
    return dict(enumerate(run.config.data.classes or []))
