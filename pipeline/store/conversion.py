"""Reading the clips of one skeleton layout as clips of another, by a mapping of their joints."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.core.errors import ConfigError
from pipeline.store.chunks import Chunk, chunks

if TYPE_CHECKING:
    from models.skeleton import SkeletonLayout
    from pipeline.config.skeleton import Mapping as JointMapping


@dataclass(frozen=True)
class Conversion:
    """How the clips of a store are read: which joints in which order, and how many persons.

    Attributes:
        persons: M of the store.
        joints: V of the store.
        order: for each joint of the result, the number of the joint in the store.
        wanted_persons: M of the result.
    """

    persons: int
    joints: int
    order: tuple[int, ...]
    wanted_persons: int

    @classmethod
    def of(
        cls,
        record: Mapping[str, Any],
        persons: int,
        layout: SkeletonLayout,
        wanted_persons: int,
        mapping: JointMapping | None = None,
    ) -> Conversion | None:
        """Find the conversion of a store's clips to a layout.

        Args:
            record: the layout of the store, from its manifest.
            persons: M of the store.
            layout: the layout of the result.
            wanted_persons: M of the result.
            mapping: `data.mapping` of the configuration (joint of the result -> joint of the
                store), or None. It is used only if the store has its source layout.

        Returns:
            The conversion, or None if there is nothing to convert.

        Raises:
            ConfigError: the mapping names a joint that the store does not have, or lacks a joint of
                the result.
        """
        recorded = record["joints"]
        as_recorded = tuple(range(len(recorded)))
        order = as_recorded
        if mapping is not None and record["name"] == mapping.source:
            order = tuple(_find(mapping, joint, recorded) for joint in layout.joints)
        if order == as_recorded and persons == wanted_persons:
            return None
        return cls(persons, len(recorded), order, wanted_persons)

    @property
    def same_layout(self) -> bool:
        """True if only the number of persons changes."""
        return self.order == tuple(range(self.joints))

    def dumps(self) -> str:
        """Return the conversion as text, for instructions that travel to reading tasks."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> Conversion:
        """Return the conversion that `dumps` wrote."""
        values = json.loads(text)
        values["order"] = tuple(values["order"])
        return cls(**values)

    def frames(self, frames: np.ndarray, lengths: Sequence[int] | np.ndarray) -> np.ndarray:
        """Convert clips whose frames follow one another.

        If persons have to be left out, those who appear in a clip stay. So a second person who is
        alone in it is not lost. From two persons to one (`.` is a frame without the person)::

            clip             A A A   B B
            first person     x x x   . .
            second person    y . y   z z
            kept             x x x   z z

        Args:
            frames: float32 [F, persons, joints, 3].
            lengths: frames of each clip.

        Returns:
            float32 [F, wanted_persons, len(order), 3].
        """
        if self.wanted_persons < self.persons:
            frames = self._cut_persons(frames, lengths)
        kept = frames[:, :, list(self.order)]
        missing = self.wanted_persons - kept.shape[1]
        return np.pad(kept, ((0, 0), (0, missing), (0, 0), (0, 0)))

    def _cut_persons(self, frames: np.ndarray, lengths: Sequence[int] | np.ndarray) -> np.ndarray:
        # [clips, persons]: is the person in any frame of the clip?
        starts = np.cumsum([0, *lengths[:-1]])
        present = np.logical_or.reduceat(frames.any(axis=(2, 3)), starts)
        # Present persons first, otherwise in their order.
        ranked = np.argsort(~present, axis=1, kind="stable")
        chosen = ranked[:, : self.wanted_persons]
        chosen_by_frame = np.repeat(chosen, lengths, axis=0)
        return np.take_along_axis(frames, chosen_by_frame[:, :, None, None], axis=1)

    def __call__(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Convert a `joints` column; every frame is copied once.

        Args:
            column: binary, float32 [T, persons, joints, 3] a row; at most a row group of the store,
                so that offsets of 32 bits are enough.

        Returns:
            binary, float32 [T, wanted_persons, len(order), 3] a row.
        """
        width = self.persons * self.joints * 3
        return pa.chunked_array([self._convert(chunk) for chunk in chunks(column, width)])

    def _convert(self, chunk: Chunk) -> pa.Array:
        _, lengths = chunk.spans()
        recorded = chunk.frames.reshape(-1, self.persons, self.joints, 3)
        frames = np.ascontiguousarray(self.frames(recorded, lengths))
        bytes_per_frame = frames[0].nbytes if len(frames) else 0
        offsets = np.concatenate([[0], np.cumsum(lengths)]) * bytes_per_frame
        no_nulls = None
        buffers = [no_nulls, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(frames)]
        return pa.Array.from_buffers(pa.binary(), len(lengths), buffers)


def _find(mapping: JointMapping, joint: str, recorded: Sequence[str]) -> int:
    """Return the number of the recorded joint that is read as `joint`."""
    counterpart = mapping.joints.get(joint)
    if counterpart not in recorded:
        raise ConfigError(
            f"data.mapping.joints.{joint}={counterpart}: not a joint of the layout "
            f"{mapping.source!r}, which has {', '.join(recorded)}"
        )
    return recorded.index(counterpart)
