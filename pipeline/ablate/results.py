"""The table of an ablation: figures of its cells in, means and paired differences out; as Markdown, plot and page."""

import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pipeline.config.schema import Config, is_place
from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.pages import html as pages
from pipeline.pages.style import INK, LEFT, MUTED, STYLE, png, single
from pipeline.runs.rundir import RunDir

MARKDOWN, PLOT, PAGE = FILES = ("ablation.md", "ablation.png", "ablation.html")
RANDOM = "random"
# Accuracies by their names in the summary, and what the table calls them; all but the first two where they are there.
MEASURED = {
    "linear_top1": "linear",
    "knn_top1": "1-NN",
    "linear_top1_unseen": "linear, unseen",
    "knn_top1_unseen": "1-NN, unseen",
}
STARTS = {"random_linear_top1": "linear at the start", "random_knn_top1": "1-NN at the start"}
COSTS = ("parameters", "gflops", "pretraining_parameters", "pretraining_gflops")
# Settings of the stage that say what the table is of.
OF_THE_TABLE = ("ablate.variants.", "ablate.splits")
# What a cell's file keeps of its summary.
RECORDED = {
    *MEASURED,
    *STARTS,
    *(f"random_{name}" for name in MEASURED),
    *COSTS,
    *(
        "linear_best_top1",
        "test_copies",
        "probe",
        "protocol",
        "train_clips",
        "test_clips",
        "classes",
        "epochs",
    ),
    *("loss", "clips_per_second", "feature_width", "collapsed"),
}


class Spread(NamedTuple):
    """Mean over seeds, and the sample deviation from seed to seed (None of a single one)."""

    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Row:
    """A variant's line of the table; `differences` to the reference, over the seeds that both have; `collapsed`: of how
    many seeds the features had collapsed when training ended."""

    variant: str
    seeds: tuple[int, ...]
    figures: dict[str, Spread]
    differences: dict[str, Spread]
    costs: dict[str, float]
    collapsed: int


def read(place: str) -> dict[str, dict[str, Any]]:
    """The records of finished cells, by the names of their files. Raises UserError for a file that holds none."""
    found = {}
    for entry in storage.files(place):
        if entry.path.endswith(".json"):
            uri = storage.join(place, storage.name(entry.path))
            record = storage.read_json(uri)
            if (
                not isinstance(record, dict)
                or not {"variant", "seed", "hash", "stores", "figures"} <= record.keys()
            ):
                raise UserError(f"{uri}: not the figures of a cell; move it elsewhere")
            found[storage.name(entry.path).removesuffix(".json")] = record
    return found


def spread(values: Iterable[float]) -> Spread:
    values = np.array(list(values), float)
    return Spread(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None)


def rows_of(records: Sequence[Mapping[str, Any]], order: Sequence[str]) -> list[Row]:
    """The table's rows: the variants of `order` that have records, the first of them the reference, and last `random`,
    the reference's encoders before training."""
    by_variant = {
        name: {r["seed"]: r["figures"] for r in records if r["variant"] == name} for name in order
    }
    by_variant = {name: by_seed for name, by_seed in by_variant.items() if by_seed}
    reference = by_variant.get(order[0], {})
    rows = [_row(name, by_seed, reference) for name, by_seed in by_variant.items()]
    if reference:
        start = {
            seed: {
                name: figures[f"random_{name}"] for name in MEASURED if f"random_{name}" in figures
            }
            | {name: figures[name] for name in ("parameters", "gflops")}
            | {"pretraining_parameters": 0, "pretraining_gflops": 0.0}
            for seed, figures in reference.items()
        }
        rows.append(_row(RANDOM, start, reference))
    return rows


def _row(name: str, by_seed: Mapping[int, Mapping], reference: Mapping[int, Mapping]) -> Row:
    shared = sorted(by_seed.keys() & reference.keys()) if by_seed is not reference else []

    def every(key: str, seeds: Iterable[int], *sides: Mapping[int, Mapping]) -> bool:
        return all(key in side[seed] for side in sides for seed in seeds)

    return Row(
        variant=name,
        seeds=tuple(sorted(by_seed)),
        figures={
            key: spread(figures[key] for figures in by_seed.values())
            for key in (*MEASURED, *STARTS)
            if every(key, by_seed, by_seed)
        },
        differences={
            key: spread(by_seed[seed][key] - reference[seed][key] for seed in shared)
            for key in MEASURED
            if shared and every(key, shared, by_seed, reference)
        },
        costs={key: next(iter(by_seed.values()))[key] for key in COSTS},
        collapsed=sum("collapsed" in figures for figures in by_seed.values()),
    )


def flat(rows: Sequence[Row]) -> dict[str, float]:
    """The rows as results of a stage: `<variant>_<figure>`, its deviation `..._std`, and `..._difference`."""
    found = {}
    for row in rows:
        for name in MEASURED.keys() & row.figures.keys():
            for suffix, value in (
                ("", row.figures[name]),
                ("_difference", row.differences.get(name)),
            ):
                if value is not None:
                    found[f"{row.variant}_{name}{suffix}"] = value.mean
                if value is not None and value.deviation is not None:
                    found[f"{row.variant}_{name}{suffix}_std"] = value.deviation
    return found


def cells_of(rows: Sequence[Row], short: bool = False) -> tuple[list[str], list[list[str]]]:
    """Header and text of the table. Accuracies in percent, differences to the reference in points.

    short: what fits a console.
    """
    shown = [
        name
        for name in list(MEASURED)[: 2 if short else None]
        if any(name in row.figures for row in rows)
    ]
    starts = [name for name in STARTS if not short and any(name in row.figures for row in rows)]
    compared = [name for name in ("linear_top1", "knn_top1") if name in shown]
    header = [
        "",
        "seeds",
        *(MEASURED[name] for name in shown),
        *(f"\u0394 {MEASURED[name]}" for name in compared),
    ]
    header += [*(STARTS[name] for name in starts), "GFLOPs"]
    header += [] if short else ["parameters", "GFLOPs of pretraining", "its parameters"]
    body = [
        [
            f"{row.variant} ({row.collapsed} collapsed)" if row.collapsed else row.variant,
            str(len(row.seeds)),
            *(_percent(row.figures.get(name)) for name in shown),
            *(_percent(row.differences.get(name), sign="+") for name in compared),
            *(_percent(row.figures.get(name)) for name in starts),
            f"{row.costs['gflops']:.3g}",
            *([] if short else _other_costs(row.costs)),
        ]
        for row in rows
    ]
    return header, body


def _other_costs(costs: Mapping[str, float]) -> list[str]:
    size, training_size = (
        f"{costs[name] / 1e6:.2f} M" for name in ("parameters", "pretraining_parameters")
    )
    return [size, f"{costs['pretraining_gflops']:.3g}", training_size]


def _percent(value: Spread | None, sign: str = "") -> str:
    if value is None:
        return ""
    scatter = "" if value.deviation is None else f" \u00b1 {100 * value.deviation:.1f}"
    return f"{100 * value.mean:{sign}.1f}{scatter}"


def plot(rows: Sequence[Row], title: str) -> Figure:
    """Linear accuracy over the GFLOPs of inference, a point a row with its deviation over seeds, named beside it."""
    figure, axes = single(8.2, 5.2, title)
    costs = np.array([row.costs["gflops"] for row in rows])
    means = np.array([row.figures["linear_top1"].mean for row in rows])
    errors = np.array([row.figures["linear_top1"].deviation or 0.0 for row in rows])
    with matplotlib.rc_context(STYLE):
        for number, row in enumerate(rows):
            colour = LEFT if number == 0 else MUTED if row.variant == RANDOM else INK
            error = errors[number] or None
            axes.errorbar(
                costs[number],
                means[number],
                error,
                fmt="o",
                color=colour,
                elinewidth=0.8,
                markersize=5,
            )
        axes.set_xlim(0, 1.25 * costs.max())
        axes.margins(y=0.1)
        low, high = axes.get_ylim()
        gap, place = 0.042 * (high - low), {}
        for number in np.argsort(means, kind="stable"):  # names of equal cost are pushed apart
            cost = float(f"{costs[number]:.2g}")
            place[cost] = max(means[number], place.get(cost, -math.inf) + gap)
            cheaper = costs[number] < 0.95 * costs[0]  # than the reference: on its left side
            axes.annotate(
                f"{rows[number].variant}  {_percent(rows[number].figures['linear_top1'])}",
                (costs[number], means[number]),
                xytext=(costs[number] + (-0.04 if cheaper else 0.04) * costs.max(), place[cost]),
                ha="right" if cheaper else "left",
                va="center",
                fontsize=8,
                fontweight="bold" if number == 0 else None,
                color=LEFT if number == 0 else INK,
                arrowprops={
                    "arrowstyle": "-",
                    "color": MUTED,
                    "linewidth": 0.5,
                    "relpos": (float(cheaper), 0.5),
                    "shrinkB": 3,
                },
            )
        axes.set_ylim(low, max(high, *(value + gap for value in place.values())))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("GFLOPs of inference, a clip")
    axes.set_ylabel("linear top-1, mean and deviation over seeds")
    return figure


def publish(config: Config, run: RunDir, records: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Write the table as it stands: Markdown, plot and page in the run's directory, and its part of `ablate.page` with
    the plot in a folder of the page's name."""
    rows = rows_of(records, list(config.ablate.variants))
    about = description(config, records)
    header, body = cells_of(rows)
    image = png(plot(rows, f"Accuracy and cost: {config.name}"))
    storage.write_bytes(run.path(PLOT), image)
    storage.write_bytes(run.path(MARKDOWN), markdown(config, about, header, body, PLOT).encode())
    caption = "Linear accuracy over what inference of one clip costs."
    content = pages.image("plot", image, caption) + pages.section(
        "Table", pages.table(body, header)
    )
    storage.write_bytes(run.path(PAGE), pages.document(config.name, about, content))

    page = config.ablate.page
    folder, name = page.removesuffix(".md"), f"{config.name}.png"
    storage.write_bytes(storage.join(folder, name), image)
    text = storage.read_bytes(page).decode() if storage.exists(page) else "# Results\n"
    part = markdown(config, about, header, body, f"{storage.name(folder)}/{name}")
    storage.write_bytes(page, replaced(text, config.name, part).encode())
    return rows


def description(config: Config, records: Sequence[Mapping[str, Any]]) -> str:
    """How the table came about: command, dates, seeds, versions, time. Of a cell that was stopped in between, the time
    since it went on."""
    dates = sorted({record["date"] for record in records})
    seeds = sorted({record["seed"] for record in records})
    first = records[0]["figures"]
    hours = sum(record["seconds"] for record in records) / 3600
    counts = sorted({(r["workers"], "GPU" if r["gpu"] else "worker") for r in records})
    machines = [f"{count} {kind}{'s' if count > 1 else ''}" for count, kind in counts]
    versions = sorted(
        {", ".join(f"{k} {v}" for k, v in record["versions"].items()) for record in records}
    )
    codes = sorted({record["code"] for record in records})
    when = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    splits = sorted(
        {
            (f["protocol"], f["train_clips"], f["test_clips"])
            for f in (r["figures"] for r in records)
        }
    )
    protocols = ", ".join(f"{name} ({train:,} / {test:,} clips)" for name, train, test in splits)
    protocols = f"protocol{'s' if len(splits) > 1 else ''} {protocols}"
    return (
        f"`{command(config)}`: {len(records)} cells, seeds {', '.join(map(str, seeds))}; "
        f"{protocols}, {first['epochs']} epochs, probe {first['probe']}, last epoch. {when}, {hours:.1f} hours on "
        f"{' or '.join(machines)}; {'; '.join(versions)}; code {', '.join(codes)}."
    )


def command(config: Config) -> str:
    """The command that makes the whole table: nothing of one machine, of the recordings the name alone, and not which
    of the cells one run was to measure."""
    shown = []
    for override in config.ablate.command:
        key, _, value = override.partition("=")
        if key == "data.raw" or (key == "data.store" and config.data.raw is None):
            override = f"{key}={storage.name(value)}"
        elif is_place(key.lstrip("+~")) and not key.lstrip("+~").startswith(OF_THE_TABLE):
            continue
        shown.append(override)
    return " ".join(["python pipeline/run.py stages=[ablate]", *map(shlex.quote, shown)])


def markdown(
    config: Config, about: str, header: Sequence[str], body: Sequence[Sequence[str]], image: str
) -> str:
    """The table with what stands over and under it."""
    scatter = (
        "from seed to seed, each on a split of its own"
        if config.ablate.splits
        else "from seed to seed"
    )
    lines = [
        f"| {' | '.join(cells)} |"
        for cells in (header, ["---", *["---:"] * (len(header) - 1)], *body)
    ]
    return "\n".join(
        [
            f"## {config.name}",
            "",
            about,
            "",
            *lines,
            "",
            f"Accuracies in %, mean \u00b1 standard deviation {scatter}. \u0394: paired difference to "
            f"`{config.ablate.reference}` over the seeds that both have, in points. At the start: the same encoder "
            "before training. GFLOPs of one clip and parameters: of the encoder in inference, and of pretraining with "
            "all heads, a step forward and backward.",
            "",
            f"![linear accuracy over GFLOPs of inference]({image})",
        ]
    )


def replaced(text: str, name: str, part: str) -> str:
    """`text` with `part` between the markers of `name`, put at its end where it has none; nothing else changes."""
    begin, end = f"<!-- {name}: generated, begin -->", f"<!-- {name}: generated, end -->"
    block = f"{begin}\n{part}\n{end}"
    if begin in text and end in text:
        return re.sub(
            f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: block, text, flags=re.DOTALL
        )
    return f"{text.rstrip()}\n\n{block}\n"
