"""The page of a report: pictures, accuracies, all figures of the summary, the configuration."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.config.root import Config, to_yaml
from pipeline.pages import html as pages
from pipeline.report.groups import GroupFigures
from pipeline.runs import metric_names
from pipeline.runs.metric_names import random_start

# A table of more rows is folded, and opens on a click.
OPEN_ROWS = 15

# The pictures of the page from the top down, and the text below each.
CAPTIONS = {
    "losses": "Every term of the loss over the steps of pretraining; the total is their weighted "
    "sum.",
    "probe": "Accuracy on the test side after each epoch of the linear probe, pretrained and from "
    "the random start.",
    "embedding": "Frozen features of test clips, before and after pretraining. Distances within a "
    "map mean something, distances between the maps do not.",
    "confusion": "What the linear probe on the pretrained encoder takes each action for.",
    "skeletons": "A few clips of the store as recorded, evenly spaced in time.",
}
# The large numbers at the top: names in the summary, and their labels.
ACCURACIES = {
    metric_names.LINEAR: "linear evaluation",
    random_start(metric_names.LINEAR): "linear evaluation, random start",
    metric_names.KNN: "nearest neighbours",
    random_start(metric_names.KNN): "nearest neighbours, random start",
    metric_names.RETRIEVAL_MAP: "mean average precision of retrieval",
    random_start(metric_names.RETRIEVAL_MAP): "mean average precision, random start",
    metric_names.LINEAR_UNSEEN: "linear evaluation, without copies of training clips",
    metric_names.KNN_UNSEEN: "nearest neighbours, without copies of training clips",
    metric_names.RETRIEVAL_MAP_UNSEEN: "mean average precision, without copies of training clips",
}
COSTS = {
    metric_names.PARAMETERS: "million parameters",
    metric_names.GFLOPS: "GFLOPs a clip in inference",
    metric_names.PRETRAINING_PARAMETERS: "million parameters in pretraining, heads included",
    metric_names.PRETRAINING_GFLOPS: "GFLOPs a clip in a step of pretraining",
}
MILLIONS = (metric_names.PARAMETERS, metric_names.PRETRAINING_PARAMETERS)


def page(
    config: Config,
    summary: Mapping[str, Any],
    images: Mapping[str, bytes],
    groups: Mapping[str, Sequence[GroupFigures]],
) -> bytes:
    """Make the page of a report. Its pictures are embedded, so it is a single file.

    Args:
        config: the configuration of the run.
        summary: the flat results of all finished stages.
        images: name -> PNG file. The names are those of CAPTIONS; some may be missing.
        groups: the result of `figures_by_group`; empty if nothing was evaluated.

    Returns:
        The HTML file.
    """
    data = config.data
    about = (
        f"{data.dataset}, protocol {data.protocol}, objective {config.objective.name}, "
        f"seed {config.seed}"
    )
    if "collapsed" in summary:
        about += f"; collapsed at {summary['collapsed']}"
    body = "".join(_body(config, summary, images, groups))
    return pages.document(config.name, about, body)


def _body(
    config: Config,
    summary: Mapping[str, Any],
    images: Mapping[str, bytes],
    groups: Mapping[str, Sequence[GroupFigures]],
) -> Iterator[str]:
    """The parts of the page, from the top down."""
    yield pages.tiles(_headline(summary))
    for name, caption in CAPTIONS.items():
        if name in images:
            yield pages.image(name, images[name], caption)
    for name, rows in groups.items():
        yield _group_section(name, rows, config.evaluate.knn.k)
    yield pages.section("Numbers", pages.table(sorted(summary.items())))
    settings = pages.folded("as it ran, defaults included", pages.code(to_yaml(config)))
    yield pages.section("Configuration", settings)


def _headline(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The accuracies that were measured and, if there are any, what they cost: (number, text)."""
    numbers = []
    for name, text in ACCURACIES.items():
        if name in summary:
            numbers.append((f"{100 * summary[name]:.1f}\u2009%", text))  # a thin space
    if not numbers:
        return []
    for name, text in COSTS.items():
        if name in summary:
            unit = 1e6 if name in MILLIONS else 1
            numbers.append((f"{summary[name] / unit:.3g}", text))
    return numbers


def _group_section(name: str, groups: Sequence[GroupFigures], neighbours: int) -> str:
    """A table of figures by `name`, the subject or the camera."""
    labels = metric_names.ACCURACIES | {metric_names.KNN: f"{neighbours}-NN"}
    for figure, text in list(labels.items()):
        labels[random_start(figure)] = f"{text}, random start"
    # All groups have the same figures.
    header = [name, "test clips", *[labels[figure] for figure in groups[0].figures]]
    rows: list[list[Any]] = []
    for group in groups:
        percentages = [f"{100 * value:.1f}" for value in group.figures.values()]
        rows.append([group.name, group.clips, *percentages])
    shown = pages.folded(
        f"{len(rows)} {name}s", pages.table(rows, header), is_open=len(rows) <= OPEN_ROWS
    )
    note = f"In %, over the test clips of each {name}; mAP: mean average precision of retrieval."
    return pages.section(f"By {name}", shown, note)
