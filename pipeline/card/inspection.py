"""What was found out about a clip store, before it is put into words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.skeleton import SkeletonLayout
from pipeline.card.findings import Finding
from pipeline.card.statistics import Columns
from pipeline.store.clip_store import ClipStore
from pipeline.store.index import StoreIndex


@dataclass(frozen=True)
class Inspection:
    """A clip store and what was found out about it.

    Attributes:
        store: the store, its clips as recorded.
        index: its small columns.
        layout: of its joints.
        columns: `statistics` of all clips.
        findings: kind of RULES -> its findings, the worst first.
    """

    store: ClipStore
    index: StoreIndex
    layout: SkeletonLayout
    columns: Columns
    findings: Mapping[str, Sequence[Finding]]
