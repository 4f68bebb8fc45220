"""The raw formats of recordings, each with its own options: one discriminated union.

In YAML a reader is a mapping with its `format`:

    reader: {format: ntu}
    reader: {format: arrays, table: clips.csv, select: {}, fps: 30.0, axes: "y up"}
"""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.section import Positive, Section


class NtuReader(Section):
    """NTU RGB+D: the `.skeleton` files."""

    format: Literal["ntu"]


class NwUclaReader(Section):
    """NW-UCLA: the JSON files."""

    format: Literal["nw_ucla"]


class PkuMmdReader(Section):
    """PKU-MMD: how its videos become clips.

    Attributes:
        end: whether the last frame of an interval is part of it.
        untrimmed: true where the videos are kept whole.
    """

    format: Literal["pku_mmd"]
    end: Literal["included", "excluded"]
    untrimmed: bool


class ArraysReader(Section):
    """A folder of arrays and a table.

    Attributes:
        table: the file name of the table, or its path in `data.raw`.
        select: column -> value of the table's rows that are meant.
        fps: frames a second.
        axes: what the coordinates mean, in words.
    """

    format: Literal["arrays"]
    table: str
    select: dict[str, str | int]
    fps: Positive
    axes: str


class PysklReader(Section):
    """An annotation pickle of pyskl."""

    format: Literal["pyskl"]


class CtrgcnNpzReader(Section):
    """An `.npz` of the CTR-GCN line."""

    format: Literal["ctrgcn_npz"]


ReaderOptions = Annotated[
    NtuReader | NwUclaReader | PkuMmdReader | ArraysReader | PysklReader | CtrgcnNpzReader,
    Field(discriminator="format"),
]
