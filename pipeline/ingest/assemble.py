"""From the reports of all shards to a store: its manifest, and its tables of rejects and flaws."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from pipeline.config.coordinates import CANONICAL
from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.ingest.plan import IngestPlan
from pipeline.ingest.recording import Rejected
from pipeline.ingest.resume import ShardReport
from pipeline.store import protocols
from pipeline.store.clip_store import ClipStore
from pipeline.store.coordinate_check import CoordinateCheck, check_bodies
from pipeline.store.manifest import FLAWS, REJECTS, UNKNOWN, fingerprint, write_manifest

# Settings that say nothing about what the rows hold and mean: how they came to be cut into shards,
# and what was asked to be left out. What that did shows in the rows.
NOT_CONTENT = ("files_per_shard", "seed", "recordings", "classes", "left_out")


def assemble(plan: IngestPlan, reports: Sequence[ShardReport]) -> dict[str, Any]:
    """Write the tables of rejects and flaws, and then the manifest.

    Args:
        plan: what was to be done.
        reports: of all shards, in their order.

    Returns:
        The manifest.

    Raises:
        UserError: no recording can be used, or more are rejected than allowed. The tables are
            written before that.
    """
    store = plan.request.store
    rejects = _write_rejects(store, plan.duplicates, reports)
    flawed = _write_flaws(store, reports)
    shards = [report.shard for report in reports if report.shard]
    clips = sum(shard["rows"] for shard in shards)
    _require_usable(plan, rejects, clips)

    manifest = {
        "fingerprint": fingerprint(_content(plan), shards),
        **plan.job.metadata,
        "settings": plan.settings,
        "dates": plan.recordings.dates,
        "recordings": len(plan.recordings.listing.members),
        "left_out": plan.left_out + sum(report.left_out for report in reports),
        "ignored_files": plan.recordings.listing.ignored,
        "clips": clips,
        "frames": sum(shard["frames"] for shard in shards),
        "rejected": rejects,
        "flawed": flawed,
        "coordinate_check": _checked(plan, reports).record(),
        "shards": shards,
    }
    columns = ClipStore(store, manifest).index().columns
    manifest["protocols"] = protocols.counts(columns, plan.request.protocols)
    for name in ("label", "subject", "camera"):
        manifest[f"{name}s"] = _histogram(columns[name])
    return write_manifest(store, manifest)


def _content(plan: IngestPlan) -> dict[str, Any]:
    """Return the settings that say what the rows hold and mean."""
    content = {key: value for key, value in plan.settings.items() if key not in NOT_CONTENT}
    # So the same store has the same fingerprint as before there was this setting.
    if plan.request.coordinates == CANONICAL:
        del content["coordinates"]
    return content


def _write_rejects(
    store: str, duplicates: Sequence[Rejected], reports: Sequence[ShardReport]
) -> list[dict[str, str]]:
    """Write the table of rejects and return its rows."""
    rejects = list(duplicates)
    for report in reports:
        rejects += report.rejects
    rejects.sort(key=lambda reject: (reject.name, reject.reason))
    rows = [asdict(reject) for reject in rejects]
    _write_table(storage.join(store, REJECTS), ("name", "reason"), rows)
    return rows


def _write_flaws(store: str, reports: Sequence[ShardReport]) -> int:
    """Write the table of flaws and return how many clips are in it."""
    flaws = []
    for report in reports:
        flaws += report.flaws
    flaws.sort(key=lambda flaw: (flaw.clip_id, flaw.flaw))
    rows = [asdict(flaw) for flaw in flaws]
    _write_table(storage.join(store, FLAWS), ("clip_id", "flaw"), rows)
    return len({flaw.clip_id for flaw in flaws})


def _write_table(uri: str, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    text = io.StringIO()
    table = csv.DictWriter(text, columns)
    table.writeheader()
    table.writerows(rows)
    # A file name may hold lone surrogates, which are no UTF-8.
    storage.write_bytes(uri, text.getvalue().encode("utf-8", "backslashreplace"))


def _require_usable(plan: IngestPlan, rejects: Sequence[Mapping[str, str]], clips: int) -> None:
    """Raise UserError where nothing is left, or more was rejected than is allowed."""
    found = clips + len(rejects)
    if clips and len(rejects) <= plan.request.max_rejected * found:
        return
    reason = "all are left out"
    if rejects:
        reasons = Counter(reject["reason"] for reject in rejects)
        reason = reasons.most_common(1)[0][0]
    what = f"none of {found} recordings can be used"
    if clips:
        what = (
            f"{len(rejects)} of {found} recordings ({len(rejects) / found:.1%}) cannot be used, "
            f"more than ingest.max_rejected={plan.request.max_rejected:g} allows"
        )
    table = storage.join(plan.request.store, REJECTS)
    raise UserError(
        f"{', '.join(plan.job.sources)}: {what} (most often: {reason}); every reason is in {table}"
    )


def _checked(plan: IngestPlan, reports: Sequence[ShardReport]) -> CoordinateCheck:
    """Judge axes and unit by the bodies that were measured in every shard."""
    rows = []
    for report in reports:
        rows += report.bodies
    table = np.array(rows, np.float32).reshape(-1, 5)  # None becomes NaN
    measured = {"standing": table[:, :3], "size": table[:, 3], "thinnest": table[:, 4]}
    return check_bodies(measured, plan.request.coordinates, plan.request.reader.space)


def _histogram(values: np.ndarray) -> dict[str, int]:
    """Count each value, as texts for JSON."""
    histogram = {}
    for value, count in zip(*np.unique(values, return_counts=True), strict=True):
        name = str(value)
        if value == UNKNOWN:
            name = "unknown"
        histogram[name] = int(count)
    return histogram
