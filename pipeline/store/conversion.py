"""Clips of one skeleton layout read as clips of another: a named mapping between the joints of two layouts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.errors import ConfigError
from pipeline.store.blocks import chunks


@dataclass(frozen=True)
class Conversion:
    """How rows of a store are read: joints chosen and ordered, persons padded with zeros or cut.

    persons, joints: of the store. order: for every joint that is wanted the store's joint. wanted_persons: M wanted.
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
        layout: Any,
        wanted_persons: int,
        mapping: Any = None,
    ):
        """The conversion of a store's clips to `layout`, or None where nothing is to be done.

        Args:
            record: the store's layout, as its manifest holds it.
            persons: of the store.
            layout: the `SkeletonLayout` that is wanted.
            wanted_persons: M that is wanted.
            mapping: a configured mapping (`source`, `joints`: wanted joint -> store's joint), or None. It is used where
                the store has its source layout.

        Raises:
            ConfigError: the mapping names a joint that the store has not, or leaves out one that is wanted.
        """
        there = record["joints"]
        if mapping is None or record["name"] != mapping.source:
            order = tuple(range(len(there)))
        else:
            order = tuple(cls._find(mapping, joint, there) for joint in layout.joints)
        if order == tuple(range(len(there))) and persons == wanted_persons:
            return None
        return cls(persons, len(there), order, wanted_persons)

    @staticmethod
    def _find(mapping: Any, joint: str, there: list[str]) -> int:
        counterpart = mapping.joints.get(joint)
        if counterpart not in there:
            raise ConfigError(
                f"data.mapping.joints.{joint}={counterpart}: not a joint of the layout {mapping.source!r}, "
                f"which has {', '.join(there)}"
            )
        return there.index(counterpart)

    @property
    def same_layout(self) -> bool:
        """True where only the number of persons changes."""
        return self.order == tuple(range(self.joints))

    def dumps(self) -> str:
        """As text, for instructions that travel to reading tasks."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> "Conversion":
        values = json.loads(text)
        return cls(**values | {"order": tuple(values["order"])})

    def frames(self, frames: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
        """Clips end to end, [F, persons, joints, 3] -> [F, wanted_persons, len(order), 3].

        Where persons are cut, those stay that are ever in the clip: a lone second one is not lost.
        """
        if self.wanted_persons < self.persons:
            starts = np.cumsum([0, *lengths[:-1]])
            present = np.logical_or.reduceat(frames.any(axis=(2, 3)), starts)
            chosen = np.argsort(~present, axis=1, kind="stable")[:, : self.wanted_persons]
            frames = np.take_along_axis(
                frames, np.repeat(chosen, lengths, axis=0)[:, :, None, None], axis=1
            )
        kept = frames[:, :, list(self.order)]
        return np.pad(kept, ((0, 0), (0, self.wanted_persons - kept.shape[1]), (0, 0), (0, 0)))

    def __call__(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """A `joints` column (binary, float32 [T, persons, joints, 3] a row) as wanted; every frame is copied once.

        Within a row group of the store, so that offsets of 32 bits are enough.
        """
        return pa.chunked_array(
            [self._chunk(chunk) for chunk in chunks(column, self.persons * self.joints * 3)]
        )

    def _chunk(self, chunk) -> pa.Array:
        _, lengths = chunk.spans()
        frames = self.frames(chunk.frames.reshape(-1, self.persons, self.joints, 3), lengths)
        width = frames[0].nbytes if len(frames) else 0
        offsets = np.concatenate([[0], np.cumsum(lengths)]) * width
        buffers = [
            None,
            pa.py_buffer(offsets.astype(np.int32)),
            pa.py_buffer(np.ascontiguousarray(frames)),
        ]
        return pa.Array.from_buffers(pa.binary(), len(lengths), buffers)
