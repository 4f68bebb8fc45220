"""The raw formats of recordings, each with its own options.

In YAML a reader is a mapping. Its key `format` decides which other keys it has:

    reader: {format: ntu}
    reader: {format: arrays, table: clips.csv, select: {}, fps: 30.0}
"""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.section import Name, Place, Positive, Section


class NtuReader(Section):
    """The `.skeleton` files of NTU RGB+D. This format has no options."""

    format: Literal["ntu"]


class NwUclaReader(Section):
    """The JSON files of NW-UCLA. This format has no options."""

    format: Literal["nw_ucla"]


class PkuMmdReader(Section):
    """The text files of PKU-MMD.

    Attributes:
        end: whether the last frame of an annotated interval is part of it.
        untrimmed: true to keep each video whole, false to cut it into its annotated intervals.
    """

    format: Literal["pku_mmd"]
    end: Literal["included", "excluded"]
    untrimmed: bool


class ArraysReader(Section):
    """A folder of arrays, and a table with one row a clip.

    Attributes:
        table: the file name of the table, or its path in `data.raw`.
        select: column -> value. Only the rows with these values are read.
        label_column: the column of the table that holds the labels.
        fps: frames a second.
    """

    format: Literal["arrays"]
    table: Place
    select: dict[str, str | int] = Field(default_factory=dict)
    label_column: Name = "label"
    fps: Positive


class PysklReader(Section):
    """The annotation pickles of pyskl and mmaction2. This format has no options."""

    format: Literal["pyskl"]


class Pyskl2dReader(Section):
    """The annotation pickles of pyskl and mmaction2 with 2-D key points.

    Attributes:
        min_confidence: joints whose confidence is not above it count as not seen.
        fps: frames a second.
    """

    format: Literal["pyskl_2d"]
    min_confidence: Annotated[float, Field(ge=0, lt=1)] = 0.01
    fps: Positive = 30.0


class AgcnNpyReader(Section):
    """The `.npy` arrays and label pickles of ST-GCN, 2s-AGCN, CMD and UmURL. It has no options."""

    format: Literal["agcn_npy"]


class CtrgcnNpzReader(Section):
    """The `.npz` files that CTR-GCN and its successors read. This format has no options."""

    format: Literal["ctrgcn_npz"]


ReaderOptions = Annotated[
    NtuReader
    | NwUclaReader
    | PkuMmdReader
    | ArraysReader
    | PysklReader
    | Pyskl2dReader
    | AgcnNpyReader
    | CtrgcnNpzReader,
    Field(discriminator="format"),
]
