"""The clip store: Parquet shards of one row a clip, and a manifest that makes them a store.

The row number `id` of a clip is its position over the shards in the order of the manifest, and
everything downstream knows clips by it. Coordinates are one `binary` value a clip (C-order float32
[T, M, V, 3], metres, as recorded after body selection), so that an Arrow column is already a ragged
batch: its data are the frames of all clips, end to end.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.store.conversion import Conversion
from pipeline.store.index import StoreIndex
from pipeline.store.integrity import Progress, require_files, verify
from pipeline.store.manifest import DamagedStore, layout_record, read_manifest
from pipeline.store.protocols import Side, mask
from pipeline.store.shards import read_joints

if TYPE_CHECKING:
    from models.skeleton import SkeletonLayout
    from pipeline.config.skeleton import Mapping as JointMapping


@dataclass(frozen=True)
class ClipStore:
    """An opened and checked clip store. It can be pickled and holds no file open.

    Attributes:
        uri: directory of the store.
        manifest: see `pipeline.store.manifest`.
        conversion: how its clips are read, if they are wanted in another layout.
        seen: the record of that layout. Names, joints, persons and coordinates are then the wanted
            ones.
        stamp: changes with the manifest and with the size and date of every shard.
    """

    uri: str
    manifest: dict[str, Any]
    conversion: Conversion | None = None
    seen: dict[str, Any] | None = None
    stamp: str = field(default="", compare=False)

    @classmethod
    def open(cls, uri: str, layout: SkeletonLayout | None = None) -> ClipStore:
        """Open a store and check that it is whole: every shard is there, with its size.

        Args:
            uri: directory of the store.
            layout: the layout that the store must have, or None for any.

        Raises:
            UserError: there is no store, or it is half written, damaged, of another version or
                layout; the message names it.
        """
        uri = storage.absolute(uri)
        manifest = read_manifest(uri)
        store = cls(uri, manifest, stamp=require_files(uri, manifest))
        if layout is not None:
            store.require_layout(layout)
        return store

    def read_as(
        self, layout: SkeletonLayout, persons: int, mapping: JointMapping | None = None
    ) -> ClipStore:
        """Return the same store, read as clips of `layout` with this number of persons.

        Raises:
            UserError: the store has another layout, and `mapping` (see `Conversion.of`) does not
                begin with it.
            ConfigError: `mapping` does not fit the two layouts.
        """
        conversion = Conversion.of(
            self.manifest["layout"], self.manifest["persons"], layout, persons, mapping
        )
        if conversion is None or conversion.same_layout:
            self.require_layout(layout)
        return replace(self, conversion=conversion, seen=layout_record(layout))

    def require_layout(self, layout: SkeletonLayout) -> None:
        """Check that the store has the joints of `layout`, in the same order and tree.

        Raises:
            UserError: it has others.
        """
        wanted = layout_record(layout)
        for key, value in wanted.items():
            if self.layout.get(key) != value:
                raise UserError(
                    f"{self.uri}: clip store has skeleton layout {self.layout_name!r} "
                    f"({self.joints} joints), but {wanted['name']!r} ({len(wanted['joints'])} "
                    f"joints) is asked for (they differ in {key})"
                )

    def verify(self, progress: Progress | None = None) -> None:
        """Read every shard, and compare its checksum and its columns with the manifest.

        Args:
            progress: called with the bytes that are done and all bytes.

        Raises:
            DamagedStore: a shard differs.
        """
        verify(self.uri, self.manifest, progress)

    @property
    def fingerprint(self) -> str:
        """Identity of the content: equal for equal input and settings, however it was written."""
        return self.manifest["fingerprint"]

    @property
    def layout(self) -> dict[str, Any]:
        """The record of the skeleton layout: see `layout_record`."""
        return self.seen or self.manifest["layout"]

    @property
    def layout_name(self) -> str:
        """Name of the skeleton layout."""
        return self.layout["name"]

    @property
    def joints(self) -> int:
        """V, joints of a person."""
        return len(self.layout["joints"])

    @property
    def persons(self) -> int:
        """M, persons of a clip; absent ones are zeros."""
        if self.conversion:
            return self.conversion.wanted_persons
        return self.manifest["persons"]

    @property
    def clips(self) -> int:
        """Number of rows."""
        return self.manifest["clips"]

    @property
    def bytes_per_frame(self) -> int:
        """Bytes that one frame takes in the `joints` column."""
        return self.persons * self.joints * 3 * 4

    @cached_property
    def paths(self) -> list[str]:
        """Locations of the shards, in the order of the manifest."""
        return [storage.join(self.uri, shard["name"]) for shard in self.manifest["shards"]]

    def index(self) -> StoreIndex:
        """Read the small columns of all rows (no coordinates).

        Raises:
            UserError: a shard cannot be read, or has other columns or rows than it should.
        """
        index = StoreIndex.read(self.paths)
        if len(index) != self.clips:
            raise DamagedStore(
                f"{self.uri}: clip store is damaged: its shards hold {len(index)} clips, "
                f"its manifest says {self.clips}; delete it, ingest again"
            )
        return index

    def select(self, side: Side, index: StoreIndex | None = None) -> np.ndarray:
        """Select the clips on one side of a protocol.

        Args:
            side: the side.
            index: of this store, if it has been read already.

        Returns:
            Their ids, int64, ascending.

        Raises:
            UserError: the side holds no clip.
        """
        if index is None:
            index = self.index()
        ids = np.flatnonzero(mask(index.columns, side))
        if not len(ids):
            raise UserError(
                f"{self.uri}: protocol {side.protocol!r} has no clip on its side {side.name!r}"
            )
        return ids

    def clip(self, row: int) -> np.ndarray:
        """Read one clip, for looking at a few; a whole row group is read for it.

        Args:
            row: the id of the clip.

        Returns:
            Coordinates float32 [T, M, V, 3].

        Raises:
            IndexError: there is no such clip.
        """
        path, group, row_in_group = self._locate(row)
        numbers = np.frombuffer(read_joints(path, group, row_in_group), np.float32)
        persons = self.manifest["persons"]
        joints = len(self.manifest["layout"]["joints"])
        frames = numbers.reshape(-1, persons, joints, 3)
        if self.conversion is None:
            return frames
        return self.conversion.frames(frames, [len(frames)])

    def _locate(self, row: int) -> tuple[str, int, int]:
        """Find where a row lies: its shard, the row group in it, and the row in that."""
        for shard, path in zip(self.manifest["shards"], self.paths, strict=True):
            if row >= shard["rows"]:
                row -= shard["rows"]
                continue
            for group, rows in enumerate(shard["row_groups"]):
                if row < rows:
                    return path, group, row
                row -= rows
        raise IndexError(f"{self.uri}: no such clip")
