"""Everything that a data card says, as plain values: `card.json`. Charts and page only show it."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from models.skeleton import SkeletonLayout
from pipeline.card.bones import BoneNorms
from pipeline.card.findings import RULES, Finding, missing_share
from pipeline.card.inspection import Inspection
from pipeline.card.statistics import Columns
from pipeline.card.store_warnings import store_warnings
from pipeline.core.arithmetic import ceil_div
from pipeline.store.clip_store import ClipStore
from pipeline.store.coordinate_check import check_bodies, declared_coordinates
from pipeline.store.copies import groups_of_copies
from pipeline.store.index import StoreIndex
from pipeline.store.manifest import UNKNOWN
from pipeline.store.protocols import counts, mask, parse

# At most so many bars in the chart of lengths.
LENGTH_BINS = 40
# What a reason may quote or count: 'text in quotation marks', or a number such as -1.5e3.
PARTICULARS = re.compile(r"'[^']*'|-?\d+(\.\d+)?(e[+-]?\d+)?")


def contents(
    inspection: Inspection,
    flaws: Sequence[Mapping[str, str]] | None,
    classes: Sequence[str],
    protocols: Mapping[str, Mapping],
) -> dict[str, Any]:
    """Put the card together.

    Args:
        inspection: a store and what was found out about it.
        flaws: rows (clip_id, flaw) of the store's table, None where the store has none.
        classes: names of the labels, as many as there are names.
        protocols: as configured.

    Returns:
        What `card.json` holds, but for the samples: values that JSON knows.
    """
    store = inspection.store
    index = inspection.index
    layout = inspection.layout
    columns = inspection.columns
    frames = columns["frames"]
    card = {
        "store": _store(store),
        "clips": len(index),
        "frames": int(frames.sum()),
        "seconds": float(frames.sum() / store.manifest["fps"]),
        "protocols": counts(index.columns, protocols),
        "copies_across_sides": _copies_across_sides(index, columns["digest"], protocols),
        "classes": _classes(index, classes),
        "subjects": _numbered("subject", index.subject),
        "cameras": _numbered("camera", index.camera),
        "setups": _numbered("setup", index.setup),
        "persons": _numbered("persons", columns["persons"]),
        "lengths": _lengths(frames),
        "missing": _missing(columns, layout),
        "bones": _bones(columns, layout),
        "coordinates": _coordinates(store.manifest, columns),
        "posture": _posture(columns),
        "findings": _findings(inspection.findings, index),
        "flagged": _flagged(inspection.findings),
        **_set_aside(store.manifest, flaws),
    }
    return card | {"warnings": list(store_warnings(card))}


def class_name(label: int | None, classes: Sequence[str]) -> str:
    """What a label is called, also where it is unknown or has no name."""
    if label is None or label == UNKNOWN:
        return "no label"
    if label < len(classes):
        return classes[label]
    return f"label {label}"


def grouped(reasons: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """Count reasons, whatever they quote and whatever numbers they hold.

        ("line 12: 4 fields", "b")
        ("line 7: 9 fields", "a")    ->  reason "line ...: ... fields", count 2, example "a"

    Args:
        reasons: (reason, name of what it is about).

    Returns:
        A row for each kind of reason, the commonest first.
    """
    names = defaultdict(list)
    for reason, name in reasons:
        names[PARTICULARS.sub("...", reason)].append(name)
    rows = []
    for reason in sorted(names, key=lambda reason: (-len(names[reason]), reason)):
        about = names[reason]
        rows.append({"reason": reason, "count": len(about), "example": min(about)})
    return rows


def _store(store: ClipStore) -> dict[str, Any]:
    manifest = store.manifest
    preparation = manifest.get("preparation") or {}
    return {
        "uri": store.uri,
        "dataset": manifest.get("dataset"),
        "source": manifest.get("source"),
        "axes": manifest.get("axes"),
        "fps": manifest.get("fps"),
        "tool": manifest.get("tool"),
        "fingerprint": store.fingerprint,
        "skeleton": store.layout_name,
        "joints": store.joints,
        "preparation": preparation.get("name"),
    }


def _classes(index: StoreIndex, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Clips of every class; a named class without clips is listed too."""
    expected: Iterable[int] = ()
    # Untrimmed recordings have no labels of their own, so no class is expected of them.
    if (index.label != UNKNOWN).any():
        expected = range(len(classes))
    rows = []
    for label, clips in _counted(index.label, expected):
        rows.append({"label": label, "name": class_name(label, classes), "clips": clips})
    return rows


def _numbered(name: str, values: np.ndarray) -> list[dict[str, Any]]:
    """Clips of every value of a column [N]."""
    return [{name: value, "clips": clips} for value, clips in _counted(values)]


def _counted(values: np.ndarray, expected: Iterable[int] = ()) -> list[tuple[int | None, int]]:
    """(value, clips) in ascending order; None stands for unknown and comes last.

    Values that are `expected` are listed even if no clip has them.
    """
    count = dict.fromkeys(expected, 0)
    found, number = np.unique(values, return_counts=True)
    count |= dict(zip(found.tolist(), number.tolist(), strict=True))
    unknown = count.pop(UNKNOWN, 0)
    rows: list[tuple[int | None, int]] = list(sorted(count.items()))
    if unknown:
        rows.append((None, unknown))
    return rows


def _copies_across_sides(
    index: StoreIndex, digests: np.ndarray, protocols: Mapping[str, Mapping]
) -> dict[str, dict[str, int]]:
    """Clips on each side of each protocol that have an exact copy on another side of it."""
    groups = groups_of_copies(digests)
    if not groups:
        return {name: dict.fromkeys(sides, 0) for name, sides in protocols.items()}
    # One entry for each clip that has a copy: the clip, and the number of its group.
    clip = np.concatenate(groups)
    group = np.repeat(np.arange(len(groups)), [len(one) for one in groups])
    across = {}
    for protocol, sides in parse(protocols).items():
        on_side = {name: mask(index.columns, side)[clip] for name, side in sides.items()}
        # How many sides of the protocol hold a clip of each group.
        sides_of_group = np.zeros(len(groups), np.int64)
        for chosen in on_side.values():
            sides_of_group += np.bincount(group[chosen], minlength=len(groups)) > 0
        several = sides_of_group > 1
        across[protocol] = {
            name: int(several[group[chosen]].sum()) for name, chosen in on_side.items()
        }
    return across


def _lengths(frames: np.ndarray) -> dict[str, Any]:
    """Lengths of the clips in frames, and a histogram of them."""
    shortest = int(frames.min())
    longest = int(frames.max())
    span = longest - shortest + 1
    # Bins of whole frames, or some would hold more lengths than others.
    width = ceil_div(span, LENGTH_BINS)
    edges = shortest + width * np.arange(ceil_div(span, width) + 1)
    return {
        "min": shortest,
        "median": float(np.median(frames)),
        "mean": float(frames.mean()),
        "max": longest,
        "edges": edges.tolist(),  # the first length of each bin, and the one after the last
        "clips": np.histogram(frames, edges)[0].tolist(),
    }


def _missing(columns: Columns, layout: SkeletonLayout) -> dict[str, Any]:
    """Joints and frames that are missing."""
    bodies = max(int(columns["bodies"].sum()), 1)
    missing = columns["missing"].sum(0).tolist()  # of each joint
    empty_frames = columns["empty_frames"]
    shares = {name: count / bodies for name, count in zip(layout.joints, missing, strict=True)}
    return {
        "joints": shares,
        "joint_count": sum(missing),
        "clips_with_missing_joints": int((missing_share(columns) > 0).sum()),
        "frames": int(empty_frames.sum()),
        "clips_with_missing_frames": int((empty_frames > 0).sum()),
    }


def _bones(columns: Columns, layout: SkeletonLayout) -> list[dict[str, Any]]:
    """Lengths of each bone that was ever seen: a clip's median, over all clips and persons."""
    norms = BoneNorms.of(columns)
    rows = []
    for bone, (joint, parent) in enumerate(layout.bones):
        lengths = columns["length"][..., bone]
        lengths = lengths[~np.isnan(lengths)]
        if not len(lengths):
            continue
        low, high = np.percentile(lengths, [5, 95])
        rows.append(
            {
                "joint": layout.joints[joint],
                "parent": layout.joints[parent],
                "metres": float(np.exp(norms.length[bone])),
                "robust_sd_log": float(norms.length_spread[bone]),
                "low": float(low),
                "high": float(high),
                "least": float(lengths.min()),
                "most": float(lengths.max()),
                "ratio_within_clips": float(np.exp(norms.ratio[bone])),
            }
        )
    return rows


def _coordinates(manifest: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """The axes and the unit that were declared, and whether the bodies agree with them."""
    declared = declared_coordinates(manifest)
    space = manifest.get("space", "metres")
    check = check_bodies(columns, declared, space)
    return {"declared": declared.model_dump(), "space": space, **check.record()}


def _posture(columns: Columns) -> dict[str, float] | None:
    """Where toes point, over the clips; None for a layout without the joints that tell it."""
    toes = columns["toes"][~np.isnan(columns["toes"])]
    if not len(toes):
        return None
    return {"toes_forward_clips": float((toes > 0).mean())}


def _findings(
    findings: Mapping[str, Sequence[Finding]], index: StoreIndex
) -> dict[str, dict[str, Any]]:
    """The findings of every rule, with the names of the clips."""
    listed = {}
    for kind, found in findings.items():
        clips = []
        for one in found:
            name = str(index.clip_id[one.clip])
            clips.append({"clip": name, "what": one.text, "score": one.score})
        listed[kind] = {"name": RULES[kind].name, "rule": RULES[kind].when, "clips": clips}
    return listed


def _flagged(findings: Mapping[str, Sequence[Finding]]) -> int:
    """How many clips fall under any rule."""
    clips: set[int] = set()
    for found in findings.values():
        clips.update(one.clip for one in found)
    return len(clips)


def _set_aside(
    manifest: Mapping[str, Any], flaws: Sequence[Mapping[str, str]] | None
) -> dict[str, Any]:
    """What ingest did not take, and what it noted about what it took."""
    rejected = manifest.get("rejected", ())
    noted = None
    if flaws is not None:
        noted = grouped((flaw["flaw"], flaw["clip_id"]) for flaw in flaws)
    return {
        "recordings": manifest.get("recordings"),
        "left_out": manifest.get("left_out", 0),
        "rejected": len(rejected),
        "rejects": grouped((reject["reason"], reject["name"]) for reject in rejected),
        "flaws": noted,
    }
