"""The stage `inspect`: the data card of a clip store, made to see what is wrong with it before anything is trained."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.skeleton import SkeletonLayout
from pipeline.card import figures as charts
from pipeline.card.animation import gif
from pipeline.card.contents import contents
from pipeline.card.findings import RULES, BoneNorms, Finding, bone_scores, find, missing_share
from pipeline.card.measure import measure
from pipeline.card.page import page
from pipeline.card.samples import choose, clearest, title
from pipeline.config.schema import Config
from pipeline.core import storage
from pipeline.core.console import say
from pipeline.encoder.build import recorded_layout
from pipeline.pages.style import png
from pipeline.report import figures
from pipeline.runs.rundir import RunDir
from pipeline.runs.tracking import Tracker
from pipeline.store.clip_store import FLAWS, UNKNOWN, ClipStore, StoreIndex

FOLDER = "card"
PAGE, VALUES, CLIPS = "card.html", "card.json", "clips.csv"
AROUND_A_JUMP = 4  # frames before and after it


def inspect(config: Config, run: RunDir, tracker: Tracker) -> dict[str, Any]:
    """Describe the run's clip store and find the clips that somebody should look at. Needs a connected Ray.

    Writes `card/card.html`, its charts and animations, `card.json` (everything that it says) and `clips.csv` (a row a
    clip) and logs them to MLflow. Raises UserError for a store that is not there, damaged, or of another skeleton.
    """
    layout = recorded_layout(config)
    store = ClipStore.open(config.store, layout)
    run.claim("fingerprint", store)
    tracker.dataset(store, "inspection")
    index, fps = store.index(), store.manifest["fps"]
    columns = measure(store, layout, config.cluster.quiet)
    findings = find(columns, index, layout, fps)
    protocols = {name: sides.model_dump() for name, sides in config.data.protocols.items()}
    classes = config.data.classes or []
    card = contents(store, index, columns, findings, _flaws(store), layout, classes, protocols)
    samples = {int(row): store.clip(int(row)) for row in choose(index, config.seed)}
    titles = {row: title(index, row, classes) for row in samples}
    animations = {titles[row]: gif(clip, titles[row], layout, fps) for row, clip in samples.items()}
    drawn = {
        "joints": charts.joint_names(
            clearest(list(samples.values())), layout, "Joints by number and name"
        ),
        "classes": charts.classes(card),
        "recordings": charts.recordings(card),
        "lengths": charts.lengths(card),
        "bones": charts.bone_lengths(card),
    }
    if card["missing"]["joint_count"]:
        drawn["missing"] = charts.missing(card)
    if card["flagged"]:
        drawn["worst"] = _worst(store, index, columns, findings, layout)
    images = {name: png(figure) for name, figure in drawn.items()}
    files = {
        PAGE: page(f"Data card: {config.data.dataset}", card, images, animations),
        CLIPS: clip_table(index, columns, findings),
        **{f"{name}.png": image for name, image in images.items()},
        **{f"sample-{number}.gif": data for number, data in enumerate(animations.values(), 1)},
    }
    for name, data in files.items():
        storage.write_bytes(run.path(FOLDER, name), data)
    storage.write_json(run.path(FOLDER, VALUES), card | {"samples": list(titles.values())})
    tracker.artifacts([run.path(FOLDER, name) for name in (*files, VALUES)], FOLDER)
    _announce(card, run.path(FOLDER, PAGE))
    return {
        "card": run.path(FOLDER, PAGE),
        "card_findings": sum(map(len, findings.values())),
        "card_flagged_clips": card["flagged"],
    }


def _flaws(store: ClipStore) -> list[dict[str, str]] | None:
    """What ingest noted about clips that it kept; None for a store that was made without such notes."""
    place = storage.join(store.uri, FLAWS)
    if not storage.exists(place):
        return None
    return list(csv.DictReader(io.StringIO(storage.read_bytes(place).decode(), newline="")))


def _worst(
    store: ClipStore,
    index: StoreIndex,
    columns: Mapping[str, np.ndarray],
    findings: Mapping[str, Sequence[Finding]],
    layout: SkeletonLayout,
):
    """A strip of the worst clip under every rule that any clip falls under."""
    strips = []
    for kind, found in findings.items():
        if found:
            row, what = (
                found[0].clip,
                f"{RULES[kind][0]}: {index.clip_id[found[0].clip]}: {found[0].text}",
            )
            clip = store.clip(row)
            if kind == "jump":
                at = int(columns["step_frame"][row])
                start = max(at - AROUND_A_JUMP, 0)
                clip = clip[start : at + AROUND_A_JUMP]
                what += f", frames {start} to {start + len(clip) - 1}"
            strips.append((what, clip))
    return figures.skeletons(strips, layout, "Clips to look at")


def clip_table(
    index: StoreIndex, columns: Mapping[str, np.ndarray], findings: Mapping[str, Sequence[Finding]]
) -> bytes:
    """The table `clips.csv`: shares are fractions, bone_score is the worst bone's (see `bone_scores`)."""
    kinds: list[list[str]] = [[] for _ in range(len(index))]
    for kind, found in findings.items():
        for finding in found:
            kinds[finding.clip].append(kind)
    table = {
        "clip_id": index.clip_id,
        **{name: _known(getattr(index, name)) for name in ("label", "subject", "camera")},
        "frames": columns["frames"],
        "persons": columns["persons"],
        "missing_joints": missing_share(columns).round(6),
        "missing_frames": (columns["empty_frames"] / columns["frames"]).round(6),
        "bone_score": np.nan_to_num(bone_scores(columns, BoneNorms.of(columns)))
        .max((1, 2))
        .round(2),
        "findings": [";".join(names) for names in kinds],
    }
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    return text.getvalue().encode()


def _known(values: np.ndarray) -> list[int | None]:
    return [None if value == UNKNOWN else value for value in values.tolist()]


def _announce(card: Mapping[str, Any], place: str) -> None:
    say(f"  {card['clips']:,} clips, {card['flagged']:,} to look at")
    for found in card["findings"].values():
        if clips := found["clips"]:
            more = ", ..." if len(clips) > 3 else ""
            say(
                f"    {found['name']}: {len(clips):,} ({', '.join(one['clip'] for one in clips[:3])}{more})"
            )
    for sentence in card["warnings"]:
        say(f"  warning: {sentence}")
    say(f"  data card: {place}")
