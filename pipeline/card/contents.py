"""Everything that a data card says, as plain values: `card.json`. Charts and page only show it."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from models.skeleton import SkeletonLayout
from pipeline.card.findings import RULES, BoneNorms, Finding, copies, missing_share
from pipeline.card.statistics import bones
from pipeline.store.clip_store import UNKNOWN, ClipStore, StoreIndex
from pipeline.store.protocols import counts, mask, parse

LENGTH_BINS = 40


def contents(
    store: ClipStore,
    index: StoreIndex,
    columns: Mapping[str, np.ndarray],
    findings: Mapping[str, Sequence[Finding]],
    flaws: Sequence[Mapping[str, str]] | None,
    layout: SkeletonLayout,
    classes: Sequence[str],
    protocols: Mapping[str, Mapping],
) -> dict[str, Any]:
    """Put the card together.

    Args:
        store: what the card is about.
        index: its small columns.
        columns: `statistics` of all clips.
        findings: of `find`.
        flaws: rows (clip_id, flaw) of the store's table, None where the store has none.
        layout: of the joints.
        classes: names of the labels, as many as there are names.
        protocols: as configured.
    """
    manifest, frames = store.manifest, columns["frames"]
    labelled = (index.label != UNKNOWN).any()  # untrimmed recordings have no label of their own
    card = {
        "store": {
            "uri": store.uri,
            **{key: manifest.get(key) for key in ("dataset", "source", "axes", "fps", "tool")},
            "fingerprint": store.fingerprint,
            "skeleton": store.layout_name,
            "joints": store.joints,
            "preparation": (manifest.get("preparation") or {}).get("name"),
        },
        "clips": len(index),
        "frames": int(frames.sum()),
        "seconds": float(frames.sum() / manifest["fps"]),
        "protocols": counts(index.columns, protocols),
        "copies_across_sides": _copies_across_sides(index, columns["digest"], protocols),
        "classes": [
            {"label": label, "name": class_name(label, classes), "clips": number}
            for label, number in _counted(index.label, range(len(classes) if labelled else 0))
        ],
        **{
            f"{name}s": [
                {name: value, "clips": number} for value, number in _counted(getattr(index, name))
            ]
            for name in ("subject", "camera", "setup")
        },
        "persons": [
            {"persons": value, "clips": number} for value, number in _counted(columns["persons"])
        ],
        "lengths": _lengths(frames),
        "missing": _missing(columns, layout),
        "bones": _bones(columns, layout),
        "posture": _posture(columns),
        "findings": {
            kind: {
                "name": RULES[kind][0],
                "rule": RULES[kind][1],
                "clips": [
                    {"clip": str(index.clip_id[f.clip]), "what": f.text, "score": f.score}
                    for f in found
                ],
            }
            for kind, found in findings.items()
        },
        "flagged": len({finding.clip for found in findings.values() for finding in found}),
        "recordings": manifest.get("recordings"),
        "left_out": manifest.get("left_out", 0),
        "rejected": len(manifest.get("rejected", ())),
        "rejects": grouped(
            (reject["reason"], reject["name"]) for reject in manifest.get("rejected", ())
        ),
        "flaws": None
        if flaws is None
        else grouped((flaw["flaw"], flaw["clip_id"]) for flaw in flaws),
    }
    return card | {"warnings": list(_warnings(card))}


def _warnings(card: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the store as a whole, a sentence each."""
    posture = card["posture"]
    if posture and posture["upright_clips"] < 0.5:
        share = 100 * posture["upright_clips"]
        yield f"y does not seem to point up: bodies stand along it in only {share:.0f} % of the clips"
    elif posture and posture["toes_forward_clips"] < 0.5:
        share = 100 * posture["toes_forward_clips"]
        yield f"left and right seem swapped or an axis mirrored: toes point forwards in only {share:.0f} % of the clips"
    for protocol, sides in card["protocols"].items():
        across = card["copies_across_sides"][protocol]
        if any(across.values()):
            which = ", ".join(
                f"{across[side]} of {clips} {side} clips" for side, clips in sides.items()
            )
            yield f"{protocol}: exact copies lie on different sides: {which}"
        for side, clips in sides.items():
            if not clips:
                yield f"{protocol}: no clip on its side {side}"
    if empty := [one for one in card["classes"] if not one["clips"]]:
        yield f"{len(empty)} of {len(card['classes'])} classes have no clip"


def class_name(label: int | None, classes: Sequence[str]) -> str:
    """What a label is called, where it has no name of its own too."""
    if label is None or label == UNKNOWN:
        return "no label"
    return classes[label] if label < len(classes) else f"label {label}"


def grouped(reasons: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """Count (reason, name) by reason, whatever is quoted or a number in it; the commonest first, each with a name."""
    names = defaultdict(list)
    for reason, name in reasons:
        names[re.sub(r"'[^']*'|-?\d+(\.\d+)?(e[+-]?\d+)?", "...", reason)].append(name)
    order = sorted(names, key=lambda reason: (-len(names[reason]), reason))
    return [
        {"reason": reason, "count": len(names[reason]), "example": min(names[reason])}
        for reason in order
    ]


def _counted(values: np.ndarray, expected: Iterable[int] = ()) -> list[tuple[int | None, int]]:
    """(value, clips) ascending, `expected` ones with 0 too; None for unknown, last."""
    found, number = np.unique(values, return_counts=True)
    count = dict.fromkeys(expected, 0) | dict(zip(found.tolist(), number.tolist(), strict=True))
    unknown = count.pop(UNKNOWN, 0)
    return sorted(count.items()) + ([(None, unknown)] if unknown else [])


def _copies_across_sides(
    index: StoreIndex, digests: np.ndarray, protocols: Mapping[str, Mapping]
) -> dict[str, dict[str, int]]:
    """Clips on each side of each protocol that have an exact copy on another side of it."""
    groups = copies(digests)
    if not groups:
        return {name: dict.fromkeys(sides, 0) for name, sides in protocols.items()}
    member, group = (
        np.concatenate(groups),
        np.repeat(np.arange(len(groups)), [len(one) for one in groups]),
    )
    across = {}
    for protocol, sides in parse(protocols).items():
        on = {name: mask(index.columns, side)[member] for name, side in sides.items()}
        held = {
            name: np.bincount(group[there], minlength=len(groups)) > 0 for name, there in on.items()
        }
        several = sum(there.astype(np.int64) for there in held.values()) > 1
        across[protocol] = {name: int(several[group[there]].sum()) for name, there in on.items()}
    return across


def _lengths(frames: np.ndarray) -> dict[str, Any]:
    span = int(frames.max() - frames.min()) + 1
    width = -(-span // LENGTH_BINS)  # whole frames, or bins would hold unequal numbers of lengths
    edges = frames.min() + width * np.arange(-(-span // width) + 1)
    return {
        "min": int(frames.min()),
        "median": float(np.median(frames)),
        "mean": float(frames.mean()),
        "max": int(frames.max()),
        "edges": edges.tolist(),  # the first frame number of each bin, and the one after the last
        "clips": np.histogram(frames, edges)[0].tolist(),
    }


def _missing(columns: Mapping[str, np.ndarray], layout: SkeletonLayout) -> dict[str, Any]:
    bodies, missing = int(columns["bodies"].sum()), columns["missing"].sum(0)
    return {
        "joints": {
            name: int(n) / max(bodies, 1) for name, n in zip(layout.joints, missing, strict=True)
        },
        "joint_count": int(missing.sum()),
        "clips_with_missing_joints": int((missing_share(columns) > 0).sum()),
        "frames": int(columns["empty_frames"].sum()),
        "clips_with_missing_frames": int((columns["empty_frames"] > 0).sum()),
    }


def _bones(columns: Mapping[str, np.ndarray], layout: SkeletonLayout) -> list[dict[str, Any]]:
    norms = BoneNorms.of(columns)
    lengths = columns["length"].reshape(-1, columns["length"].shape[-1])
    listed = []
    for bone, (joint, parent) in enumerate(bones(layout)):
        seen = lengths[~np.isnan(lengths[:, bone]), bone]
        if len(seen):
            low, high = np.percentile(seen, [5, 95])
            listed.append(
                {
                    "joint": layout.joints[joint],
                    "parent": layout.joints[parent],
                    "metres": float(np.exp(norms.length[bone])),
                    "robust_sd_log": float(norms.length_spread[bone]),
                    "low": float(low),
                    "high": float(high),
                    "least": float(seen.min()),
                    "most": float(seen.max()),
                    "ratio_within_clips": float(np.exp(norms.ratio[bone])),
                }
            )
    return listed


def _posture(columns: Mapping[str, np.ndarray]) -> dict[str, float] | None:
    """Medians over the clips; None for a layout without the joints that say it."""
    upright, toes = (columns[name][~np.isnan(columns[name])] for name in ("upright", "toes"))
    if not len(upright) or not len(toes):
        return None
    return {
        "upright": float(np.median(upright)),
        "upright_clips": float((upright > 0.5).mean()),
        "toes_forward_clips": float((toes > 0).mean()),
    }
