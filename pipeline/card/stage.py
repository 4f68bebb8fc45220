"""The stage `inspect`: the data card of a clip store.

It is made to see what is wrong with the clips before anything is trained on them.
"""

import csv
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from pipeline.card import body_figures, figures
from pipeline.card.animation import gif
from pipeline.card.contents import contents
from pipeline.card.findings import RULES, find
from pipeline.card.inspection import Inspection
from pipeline.card.measure import measure
from pipeline.card.page import page
from pipeline.card.samples import choose, clearest, title
from pipeline.card.table import clip_table
from pipeline.core import storage
from pipeline.core.console import say
from pipeline.pages.skeletons import skeletons
from pipeline.pages.style import png
from pipeline.runs import files
from pipeline.runs.resolved import ResolvedRun
from pipeline.store.clip_store import ClipStore
from pipeline.store.manifest import FLAWS

if TYPE_CHECKING:  # MLflow takes more than a second to import.
    from pipeline.runs.tracking import Tracker

# The files in `card/`, beside the charts and the animations.
PAGE = "card.html"
VALUES = "card.json"
CLIPS = "clips.csv"

AROUND_A_JUMP = 4  # frames before and after it


def inspect(run: ResolvedRun, tracker: "Tracker") -> dict[str, Any]:
    """Describe the run's clip store and find the clips that somebody should look at.

    Needs a connected Ray. Writes `card/card.html`, its charts and animations, `card.json`
    (everything that it says) and `clips.csv` (a row a clip), and logs them to MLflow.

    Args:
        run: the run, with a clip store.
        tracker: is told which clips were used, and gets the files.

    Returns:
        Where the page is, and how much was found, for the summary.

    Raises:
        UserError: the store is not there, damaged, or of another skeleton.
    """
    tracker.dataset(run.recorded_store, "inspection")
    inspection = examine(run)
    data = run.config.data
    classes = data.classes or []
    flaws = read_flaws(inspection.store)
    card = contents(inspection, flaws, classes, data.protocol_values())

    samples = {}
    for row in choose(inspection.index, run.config.seed).tolist():
        samples[title(inspection.index, row, classes)] = inspection.store.clip(row)
    fps = inspection.store.manifest["fps"]
    animations = {name: gif(clip, name, run.recorded_layout, fps) for name, clip in samples.items()}
    charts = {name: png(figure) for name, figure in draw(card, inspection, samples).items()}

    written = {
        PAGE: page(f"Data card: {data.dataset}", card, charts, animations),
        CLIPS: clip_table(inspection),
    }
    for name, image in charts.items():
        written[f"{name}.png"] = image
    for number, image in enumerate(animations.values(), start=1):
        written[f"sample-{number}.gif"] = image
    for name, content in written.items():
        storage.write_bytes(run.directory.path(files.CARD, name), content)
    storage.write_json(run.directory.path(files.CARD, VALUES), card | {"samples": list(samples)})
    locations = [run.directory.path(files.CARD, name) for name in (*written, VALUES)]
    tracker.artifacts(locations, files.CARD)
    location = run.directory.path(files.CARD, PAGE)
    announce(card, location)
    return {
        "card": location,
        "card_findings": sum(len(found) for found in inspection.findings.values()),
        "card_flagged_clips": card["flagged"],
    }


def examine(run: ResolvedRun) -> Inspection:
    """Read all clips of the run's store, and apply the rules to their statistics."""
    store = run.recorded_store
    layout = run.recorded_layout
    columns = measure(store, layout)
    findings = find(columns, run.index, layout, store.manifest["fps"])
    return Inspection(store, run.index, layout, columns, findings)


def draw(
    card: Mapping[str, Any], inspection: Inspection, samples: Mapping[str, np.ndarray]
) -> dict[str, Figure]:
    """The charts of a card by their names on the page.

    Args:
        card: of `contents`.
        inspection: what the card is about.
        samples: name -> coordinates [T, M, V, 3] of the clips that are shown.
    """
    body = clearest(list(samples.values()))
    drawn = {
        "joints": body_figures.joint_names(body, inspection.layout, "Joints by number and name"),
        "classes": figures.classes(card),
        "recordings": figures.recordings(card),
        "lengths": figures.lengths(card),
        "bones": body_figures.bone_lengths(card),
    }
    if card["missing"]["joint_count"]:
        drawn["missing"] = body_figures.missing(card)
    if card["flagged"]:
        drawn["worst"] = draw_worst(inspection)
    return drawn


def draw_worst(inspection: Inspection) -> Figure:
    """A strip of the worst clip under every rule that any clip falls under."""
    strips = []
    for kind, found in inspection.findings.items():
        if not found:
            continue
        worst = found[0]
        name = inspection.index.clip_id[worst.clip]
        text = f"{RULES[kind].name}: {name}: {worst.text}"
        clip = inspection.store.clip(worst.clip)
        if kind == "jump":
            # A jump is between two frames, and eight frames of the whole clip would miss it.
            at = int(inspection.columns["step_frame"][worst.clip])
            start = max(at - AROUND_A_JUMP, 0)
            clip = clip[start : at + AROUND_A_JUMP]
            text += f", frames {start} to {start + len(clip) - 1}"
        strips.append((text, clip))
    return skeletons(strips, inspection.layout, "Clips to look at")


def read_flaws(store: ClipStore) -> list[dict[str, str]] | None:
    """What ingest noted about clips that it kept.

    Returns:
        Rows (clip_id, flaw), None for a store that was made without such notes.
    """
    location = storage.join(store.uri, FLAWS)
    if not storage.exists(location):
        return None
    text = storage.read_bytes(location).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def announce(card: Mapping[str, Any], location: str) -> None:
    """Say what a card found, and where its page is."""
    say(f"  {card['clips']:,} clips, {card['flagged']:,} to look at")
    for found in card["findings"].values():
        clips = found["clips"]
        if clips:
            names = [one["clip"] for one in clips[:3]]
            if len(clips) > 3:
                names.append("...")
            say(f"    {found['name']}: {len(clips):,} ({', '.join(names)})")
    for sentence in card["warnings"]:
        say(f"  warning: {sentence}")
    for sentence in card["coordinates"]["notes"]:
        say(f"  {sentence}")
    say(f"  data card: {location}")
