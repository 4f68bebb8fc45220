"""The pretrained encoder as a directory of `config.json` and `model.safetensors`, and back.

Loading executes nothing. Users import `load_encoder` from `skelfuse`, where an example stands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from models.backbone import Backbone, BackboneSettings
from models.clips import ClipBatch, whole
from models.normalise import normalise
from models.skeleton import SkeletonLayout
from pipeline.config.data import Normalise
from pipeline.config.model import Model
from pipeline.config.root import Config
from pipeline.config.section import Count, Section
from pipeline.config.skeleton import Skeleton
from pipeline.core import storage
from pipeline.core.errors import UserError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
# Wrong weights that a message names, before it says how many more there are.
NAMED_PROBLEMS = 3


class EncoderCard(Section):
    """What `config.json` holds: all that rebuilds the encoder and prepares clips for it."""

    format: Literal["skelfuse-encoder"] = "skelfuse-encoder"
    version: Literal[1] = 1
    name: str
    skeleton: Skeleton
    persons: Count
    model: Model
    normalise: Normalise


@dataclass(frozen=True)
class Preparation:
    """Turns recorded clips into what the encoder takes: centred, aligned, all of one length.

    Attributes:
        layout: V joints and how they hang together.
        persons: M, persons of a clip; absent ones are zeros.
        frames: T, to which a whole clip is resampled.
        centre: where the origin is put, see `models.normalise`.
        align: how the body is turned, see `models.normalise`.
    """

    layout: SkeletonLayout
    persons: int
    frames: int
    centre: str
    align: str

    def __call__(self, clips: ClipBatch | Sequence[np.ndarray | Tensor]) -> Tensor:
        """Prepare recorded clips.

        Args:
            clips: a batch, or B arrays [length, M, V, 3] in metres, of any length from one frame.

        Returns:
            Views [B, T, M, V, 3], which `Backbone.features` takes.

        Raises:
            ValueError: clips of another number of persons or joints than the encoder's.
        """
        if not isinstance(clips, ClipBatch):
            clips = self._batch(clips)
        if clips.frames.shape[1:] != (self.persons, self.layout.num_joints, 3):
            raise ValueError(self._mismatch(clips.frames))
        centred = normalise(clips, self.layout, self.centre, self.align)
        return whole(centred, self.frames)

    def _batch(self, arrays: Sequence[np.ndarray | Tensor]) -> ClipBatch:
        frames = [torch.from_numpy(np.array(array, np.float32)) for array in arrays]
        for number, clip in enumerate(frames):
            if clip.dim() != 4 or clip.shape[-1] != 3 or len(clip) == 0:
                raise ValueError(
                    f"clip {number} must be [frames, persons, joints, 3], is {list(clip.shape)}"
                )
            if clip.shape[1:3] != (self.persons, self.layout.num_joints):
                raise ValueError(self._mismatch(clip))
        # Clips lie end to end: lengths 3, 2, 4 give offsets 0, 3, 5, 9.
        lengths = map(len, frames)
        offsets = torch.tensor([0, *lengths]).cumsum(0)
        ids = torch.arange(len(frames))
        unlabelled = torch.full((len(frames),), -1)
        return ClipBatch(torch.cat(frames), offsets, ids, unlabelled)

    def _mismatch(self, frames: Tensor) -> str:
        return (
            f"this encoder takes clips of {self.persons} persons and {self.layout.num_joints} "
            f"joints ({self.layout.name}), "
            f"got {frames.shape[1]} persons and {frames.shape[2]} joints"
        )


def export_encoder(uri: str, backbone: Backbone, config: Config) -> None:
    """Write a backbone into a directory.

    Args:
        uri: the directory.
        backbone: what `config` built, with the weights to export.
        config: of the run.

    Raises:
        UserError: the directory cannot be written.
    """
    card = EncoderCard(
        name=config.name,
        skeleton=config.data.seen_skeleton,
        persons=config.data.persons,
        model=config.model,
        normalise=config.data.normalise,
    )
    # The card comes last: a directory without it is no export.
    write_weights(uri, backbone)
    storage.write_bytes(storage.join(uri, CONFIG), (card.model_dump_json(indent=2) + "\n").encode())


def write_weights(uri: str, backbone: Backbone) -> None:
    """Write the weights of an export, whole or not at all; its card stays as it is.

    Raises:
        UserError: the file cannot be written.
    """
    weights = {}
    for name, value in backbone.state_dict().items():
        weights[name] = value.detach().cpu().contiguous()
    storage.write_bytes(storage.join(uri, WEIGHTS), save(weights, metadata={"format": "pt"}))


def load_encoder(uri: str) -> tuple[Backbone, Preparation]:
    """Read an exported encoder. Nothing in its files is executed.

    Args:
        uri: directory of the export, on a disk or on object storage.

    Returns:
        The backbone, frozen and in evaluation mode, and what prepares clips for it.

    Raises:
        UserError: there is no export, it is damaged, or the weights are not those of its card; the
            message names the file.
    """
    card, layout = _read_card(storage.join(uri, CONFIG))
    # The initial weights are overwritten, and the caller's random state stays as it is.
    with torch.random.fork_rng(devices=[]):
        backbone = Backbone(layout, card.persons, BackboneSettings(**card.model.model_dump()))
    path = storage.join(uri, WEIGHTS)
    try:
        weights = load(storage.read_bytes(path))
    except SafetensorError as error:
        raise UserError(f"{path}: not a safetensors file ({error})") from None
    _require_same(path, backbone.state_dict(), weights)
    backbone.load_state_dict(weights)
    preparation = Preparation(
        layout=layout,
        persons=card.persons,
        frames=card.model.frames,
        centre=card.normalise.centre,
        align=card.normalise.align,
    )
    return backbone.eval().requires_grad_(False), preparation


def _read_card(path: str) -> tuple[EncoderCard, SkeletonLayout]:
    try:
        card = EncoderCard.model_validate(storage.read_json(path))
        return card, SkeletonLayout.build(**card.skeleton.model_dump())
    except ValidationError as error:
        # One line: the first problem is enough to know what is wrong with the file.
        first = error.errors()[0]
        problem = first["msg"]
        key = ".".join(str(part) for part in first["loc"])
        if key:
            problem = f"{key}: {problem}"
        raise UserError(f"{path}: not the card of an encoder ({problem})") from None
    except ValueError as error:
        raise UserError(f"{path}: not the card of an encoder ({error})") from None


def _require_same(path: str, expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    """Raise UserError unless both have the same names, shapes and types."""
    problems = []
    for name in expected.keys() | found.keys():
        if name not in found:
            problems.append(f"{name} is missing")
        elif name not in expected:
            problems.append(f"{name} is unknown")
        elif _describe(found[name]) != _describe(expected[name]):
            wanted = _describe(expected[name])
            problems.append(f"{name} is {_describe(found[name])}, not {wanted}")
    if not problems:
        return
    named = "; ".join(sorted(problems)[:NAMED_PROBLEMS])
    if len(problems) > NAMED_PROBLEMS:
        named += f" and {len(problems) - NAMED_PROBLEMS} more"
    raise UserError(f"{path}: not the weights that {CONFIG} describes: {named}")


def _describe(tensor: Tensor) -> str:
    """Example: `float32 [16, 16]`."""
    kind = str(tensor.dtype).removeprefix("torch.")
    return f"{kind} {list(tensor.shape)}"
