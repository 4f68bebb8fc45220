"""The stage `report`: what the earlier stages left in `output`, as figures and one page that holds all of it."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors.numpy import load

from pipeline.config.schema import Config, to_yaml
from pipeline.core import storage
from pipeline.core.console import say
from pipeline.encoder.build import recorded_layout
from pipeline.evaluate.stage import ENCODERS, FEATURES
from pipeline.evaluate.stage import RESULTS as EVALUATION
from pipeline.pages import html as pages
from pipeline.pages.style import png
from pipeline.pretrain.stage import HISTORY
from pipeline.report import figures
from pipeline.runs.rundir import RunDir
from pipeline.runs.tracking import Tracker
from pipeline.store.clip_store import ClipStore

FOLDER = "figures"
PAGE = "report.html"
MAPPED_CLIPS = 1500  # t-SNE of more takes minutes and shows no more
STRIP_CLIPS = 4
GROUPED = ("subject", "camera")
OPEN_ROWS = 15  # a longer table opens on a click


def report(config: Config, run: RunDir, tracker: Tracker) -> dict[str, Any]:
    """Draw what there is: the data, and pretraining and evaluation where these stages have run.

    Writes `figures/*.png` and `report.html`, and logs them to MLflow.
    """
    store, groups = ClipStore.open(config.store), {}
    drawn = {"skeletons": _skeletons(store, config)}
    if run.results("pretrain") is not None:
        drawn["losses"] = _losses(config, run)
    if run.results("evaluate") is not None:
        saved = {
            name: load(storage.read_bytes(run.path(FEATURES, f"{name}.safetensors")))
            for name in ENCODERS
        }
        drawn |= _evaluation(config, run, saved)
        groups = _groups(store, saved)
    images = {name: png(figure) for name, figure in drawn.items()}
    for name, image in images.items():
        storage.write_bytes(run.path(FOLDER, f"{name}.png"), image)
    storage.write_bytes(run.path(PAGE), page(config, run.summary(), images, groups))
    tracker.artifacts([run.path(FOLDER, f"{name}.png") for name in images], FOLDER)
    tracker.artifacts([run.path(PAGE)])
    say(f"  {len(images)} figures, all in {run.path(PAGE)}")
    return {"report": run.path(PAGE)}


def _skeletons(store: ClipStore, config: Config):
    return figures.skeletons(
        _moments(store, config),
        recorded_layout(config),
        f"{config.data.dataset}: clips as recorded",
    )


def _moments(store: ClipStore, config: Config) -> list[tuple[str, np.ndarray]]:
    """A few clips of different actions, one of them with two persons where the store has such, named for the strip."""
    index = store.index()
    names = class_names(config)
    # The longest half: a clip of one frame is no strip. Row order is random already, so the first are a fair choice.
    long = np.flatnonzero(index.num_frames >= np.median(index.num_frames))
    crowded = long[index.num_persons[long] > 1][:1]
    order = np.concatenate([crowded, long])
    _, first = np.unique(index.label[order], return_index=True)
    chosen = order[np.sort(first)][:STRIP_CLIPS]
    return [
        (
            f"{names.get(int(index.label[row]), f'action {index.label[row]}')}   {index.clip_id[row]}",
            store.clip(int(row)),
        )
        for row in chosen
    ]


def _losses(config: Config, run: RunDir):
    rows = [
        json.loads(line) for line in storage.read_bytes(run.path(HISTORY)).decode().splitlines()
    ]
    return figures.losses(
        rows, f"Pretraining loss: {config.name}, objective {config.objective.name}"
    )


def _evaluation(
    config: Config, run: RunDir, saved: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, Any]:
    """saved: of each encoder what evaluation left, see `evaluate._save`."""
    results = run.results("evaluate")
    labels, names = saved["encoder"]["test/labels"], class_names(config)
    what = f"{config.data.dataset} {config.data.protocol}, {len(labels):,} test clips"
    curves = storage.read_json(run.path(EVALUATION))["linear"]
    some = np.sort(np.random.default_rng(config.seed).permutation(len(labels))[:MAPPED_CLIPS])
    k = config.evaluate.knn.k
    return {
        "probe": figures.probe_curves(
            {name: curves[name]["test_top1"] for name in ENCODERS},
            f"Linear evaluation ({results['probe']}): {what}",
        ),
        "embedding": figures.embedding(
            # The random start first: what training changed reads from left to right.
            {name: saved[name]["test/features"][some] for name in reversed(ENCODERS)},
            labels[some],
            names,
            {
                name: f"{k}-NN {100 * results[f'{prefix}knn_top1']:.1f} %"
                for name, prefix in ENCODERS.items()
            },
            config.seed,
            f"Features by action (t-SNE): {config.data.dataset} {config.data.protocol}, {len(some):,} test clips",
        ),
        "confusion": figures.confusion(
            labels,
            saved["encoder"]["test/linear"],
            names,
            f"Linear probe, % of each action: {config.data.dataset} {config.data.protocol}",
        ),
    }


def _groups(
    store: ClipStore, saved: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, list[list]]:
    """Accuracies over the test clips of each subject and of each camera, where there are several: rows of its number,
    its clips, then linear and nearest neighbours of every encoder, in percent.

    A mean hides that features fail on one person, whose tracking was worse, or on one place of the camera.
    """
    index, ids, tables = store.index(), saved["encoder"]["test/ids"], {}
    right = [
        test[f"test/{probe}"] == test["test/labels"]
        for test in saved.values()
        for probe in ("linear", "knn")
    ]
    for name in GROUPED:
        found, group = np.unique(getattr(index, name)[ids], return_inverse=True)
        if len(found) > 1:
            clips = np.bincount(group)
            shares = [np.bincount(group, hits) / clips for hits in right]
            tables[name] = [
                [
                    "unknown" if number < 0 else int(number),
                    int(clips[g]),
                    *(f"{100 * share[g]:.1f}" for share in shares),
                ]
                for g, number in enumerate(found)
            ]
    return tables


def class_names(config: Config) -> dict[int, str]:
    """Label -> name, empty where the configuration has no names."""
    return dict(enumerate(config.data.classes or []))


CAPTIONS = {
    "losses": "Every term of the loss over the steps of pretraining; the total is their weighted sum.",
    "probe": "Accuracy on the test side after each epoch of the linear probe, pretrained and from the random start.",
    "embedding": "Frozen features of test clips, before and after pretraining. Distances within a map mean something, "
    "distances between the maps do not.",
    "confusion": "What the linear probe on the pretrained encoder takes each action for.",
    "skeletons": "A few clips of the store as recorded, evenly spaced in time.",
}
FIGURES = {
    "linear_top1": "linear evaluation",
    "random_linear_top1": "linear evaluation, random start",
    "knn_top1": "nearest neighbours",
    "random_knn_top1": "nearest neighbours, random start",
    "linear_top1_unseen": "linear evaluation, without copies of training clips",
    "knn_top1_unseen": "nearest neighbours, without copies of training clips",
}
COSTS = {
    "parameters": (1e6, "million parameters"),
    "gflops": (1, "GFLOPs a clip in inference"),
    "pretraining_parameters": (1e6, "million parameters in pretraining, heads included"),
    "pretraining_gflops": (1, "GFLOPs a clip in a step of pretraining"),
}


def page(
    config: Config,
    summary: Mapping[str, Any],
    images: Mapping[str, bytes],
    groups: Mapping[str, list[list]],
) -> bytes:
    """A self-contained HTML page: headline accuracies, the figures, accuracies of parts of the test side (`_groups`),
    every number of the summary, the configuration."""
    data, objective = config.data, config.objective.name
    about = f"{data.dataset}, protocol {data.protocol}, objective {objective}, seed {config.seed}"
    if "collapsed" in summary:
        about += f"; collapsed at {summary['collapsed']}"
    headline = [
        (f"{100 * summary[key]:.1f}\u2009%", text)
        for key, text in FIGURES.items()
        if key in summary
    ]
    if headline:  # what an accuracy costs stands beside it
        headline += [
            (f"{summary[key] / unit:.3g}", text)
            for key, (unit, text) in COSTS.items()
            if key in summary
        ]
    body = [
        pages.tiles(headline),
        *(
            pages.image(name, images[name], caption)
            for name, caption in CAPTIONS.items()
            if name in images
        ),
        *(_group_section(name, rows, config.evaluate.knn.k) for name, rows in groups.items()),
        pages.section("Numbers", pages.table(sorted(summary.items()))),
        pages.section(
            "Configuration",
            pages.folded("as it ran, defaults included", pages.code(to_yaml(config))),
        ),
    ]
    return pages.document(config.name, about, "".join(body))


def _group_section(name: str, rows: list[list], k: int) -> str:
    header = [
        name,
        "test clips",
        "linear",
        f"{k}-NN",
        "linear, random start",
        f"{k}-NN, random start",
    ]
    shown = pages.folded(
        f"{len(rows)} {name}s", pages.table(rows, header), is_open=len(rows) <= OPEN_ROWS
    )
    return pages.section(
        f"By {name}", shown, f"Accuracies in % over the test clips of each {name}."
    )
