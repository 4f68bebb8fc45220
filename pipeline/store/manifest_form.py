"""The form of a manifest, and whether its numbers agree with each other. No shard is looked at.

A manifest that says more rows than its shards have, or that names a file outside the store, would
lead to wrong clips or to errors deep inside of a stage. So it is refused when it is read.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.config.coordinates import Coordinates
from pipeline.core.errors import first_line

Count = Annotated[int, Field(ge=0)]
Several = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]
# A file in the store itself: nothing like `../other/x.parquet`.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    """A part of a manifest. Further keys are allowed; a number in quotes is no number."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class _Layout(_Strict):
    """The skeleton layout, see `pipeline.store.manifest.layout_record`."""

    name: Text
    joints: Annotated[list[Text], Field(min_length=1)]
    parents: list[Count]

    @model_validator(mode="after")
    def _is_tree_of_joints(self) -> "_Layout":
        if len(set(self.joints)) != len(self.joints):
            raise ValueError("joints: a name is there twice")
        if len(self.parents) != len(self.joints) or max(self.parents) >= len(self.joints):
            raise ValueError("parents: not one joint for every joint")
        return self


class _Shard(_Strict):
    """The entry of a shard, see `pipeline.store.shards.write_shard`."""

    name: FileName
    rows: Several
    bytes: Several
    checksum: Digest
    row_groups: Annotated[list[Several], Field(min_length=1)]
    frames: Count | None = None
    content: Digest | None = None

    @model_validator(mode="after")
    def _row_groups_hold_the_rows(self) -> "_Shard":
        if sum(self.row_groups) != self.rows:
            raise ValueError(f"rows={self.rows}, but row_groups hold {sum(self.row_groups)}")
        return self


class _CoordinateCheck(_Strict):
    """What is said of it, see `pipeline.store.coordinate_check.CoordinateCheck`."""

    warnings: list[str]
    notes: list[str]


class _Manifest(_Strict):
    """What every manifest has, and the optional keys that something is computed from."""

    fingerprint: Text
    layout: _Layout
    persons: Several
    clips: Count
    shards: list[_Shard]
    settings: dict[str, Any]
    dataset: Text | None = None
    frames: Count | None = None
    fps: Annotated[float, Field(gt=0)] | None = None
    recordings: Count | None = None
    left_out: Count | None = None
    flawed: Count | None = None
    rejected: list[dict[str, str]] | None = None
    space: Literal["metres", "image"] | None = None
    coordinates: Coordinates | None = None
    coordinate_check: _CoordinateCheck | None = None

    @model_validator(mode="after")
    def _is_the_sum_of_its_shards(self) -> "_Manifest":
        names = [shard.name for shard in self.shards]
        if len(set(names)) != len(names):
            raise ValueError("shards: a name is there twice")
        rows = sum(shard.rows for shard in self.shards)
        if rows != self.clips:
            raise ValueError(f"clips={self.clips}, but its shards hold {rows}")
        frames = [shard.frames for shard in self.shards if shard.frames is not None]
        if self.frames is not None and len(frames) == len(names) and sum(frames) != self.frames:
            raise ValueError(f"frames={self.frames}, but its shards hold {sum(frames)}")
        return self


def is_shard(entry: Any) -> bool:
    """True if this is the entry of a shard, whose numbers agree with each other."""
    try:
        _Shard.model_validate(entry)
    except ValidationError:
        return False
    return True


def first_problem(manifest: dict[str, Any]) -> str | None:
    """Return what is wrong with a manifest, None if nothing is.

    Example: `shards.0.rows: Input should be greater than or equal to 1`
    """
    try:
        _Manifest.model_validate(manifest)
    except ValidationError as error:
        return first_line(error)
    return None
