"""The pretrained encoder as a directory of `config.json` and `model.safetensors`, and back. Loading executes nothing.

from pipeline.encoder.export import load_encoder
encoder, prepare = load_encoder("outputs/nw_ucla/encoder")
features = encoder.features(prepare(clips))     # clips: arrays [T, M, V, 3] in metres; features: [clips, 2 * width]
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

from models.backbone import Backbone
from models.clips import ClipBatch, whole
from models.normalise import normalise
from models.skeleton import SkeletonLayout
from pipeline.config.schema import Config, Count, Model, Normalise, Section, Skeleton
from pipeline.core import storage
from pipeline.core.errors import UserError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"


class EncoderCard(Section):
    """What `config.json` holds: all that is needed to rebuild the encoder and to prepare clips for it."""

    format: Literal["skelfuse-encoder"] = "skelfuse-encoder"
    version: Literal[1] = 1
    name: str
    skeleton: Skeleton
    persons: Count
    model: Model
    normalise: Normalise


@dataclass(frozen=True)
class Preparation:
    """Turns recorded clips into what the encoder takes: centred, aligned, and whole at `frames` frames."""

    layout: SkeletonLayout
    persons: int
    frames: int
    centre: str
    align: str

    def __call__(self, clips: ClipBatch | Sequence[np.ndarray | Tensor]) -> Tensor:
        """Views [B, T, M, V, 3] of a batch, or of B arrays [length, M, V, 3] in metres, of any length from one frame.

        Raises ValueError for clips of another number of persons or joints than the encoder's.
        """
        if not isinstance(clips, ClipBatch):
            clips = self._batch(clips)
        if clips.frames.shape[1:] != (self.persons, self.layout.num_joints, 3):
            raise ValueError(self._mismatch(clips.frames))
        return whole(normalise(clips, self.layout, self.centre, self.align), self.frames)

    def _batch(self, arrays: Sequence[np.ndarray | Tensor]) -> ClipBatch:
        frames = [torch.from_numpy(np.array(array, np.float32)) for array in arrays]
        for number, clip in enumerate(frames):
            if clip.dim() != 4 or clip.shape[-1] != 3 or len(clip) == 0:
                raise ValueError(
                    f"clip {number} must be [frames, persons, joints, 3], is {list(clip.shape)}"
                )
            if clip.shape != (len(clip), self.persons, self.layout.num_joints, 3):
                raise ValueError(self._mismatch(clip))
        offsets = torch.tensor([0, *map(len, frames)]).cumsum(0)
        return ClipBatch(
            torch.cat(frames), offsets, torch.arange(len(frames)), torch.full((len(frames),), -1)
        )

    def _mismatch(self, frames: Tensor) -> str:
        return (
            f"this encoder takes clips of {self.persons} persons and {self.layout.num_joints} joints "
            f"({self.layout.name}), got {frames.shape[1]} persons and {frames.shape[2]} joints"
        )


def export_encoder(uri: str, backbone: Backbone, config: Config) -> None:
    """Write `backbone`, which `config` built, into the directory `uri`; the card comes last and marks a whole one."""
    weights = {
        name: value.detach().cpu().contiguous() for name, value in backbone.state_dict().items()
    }
    card = EncoderCard(
        name=config.name,
        skeleton=config.data.seen_skeleton,
        persons=config.data.persons,
        model=config.model,
        normalise=config.data.normalise,
    )
    storage.write_bytes(storage.join(uri, WEIGHTS), save(weights, metadata={"format": "pt"}))
    storage.write_bytes(storage.join(uri, CONFIG), (card.model_dump_json(indent=2) + "\n").encode())


def load_encoder(uri: str) -> tuple[Backbone, Preparation]:
    """Read an exported encoder: the backbone, frozen and in evaluation mode, and what prepares clips for it.

    Raises UserError naming the file where there is no export, it is damaged, or the weights are not those of its card.
    """
    card, layout = _card(storage.join(uri, CONFIG))
    with torch.random.fork_rng(
        devices=[]
    ):  # its initial weights are overwritten: the caller's random state stays
        backbone = Backbone(layout, card.persons, **card.model.model_dump())
    place = storage.join(uri, WEIGHTS)
    try:
        weights = load(storage.read_bytes(place))
    except SafetensorError as error:
        raise UserError(f"{place}: not a safetensors file ({error})") from None
    _require_same(place, backbone.state_dict(), weights)
    backbone.load_state_dict(weights)
    preparation = Preparation(
        layout, card.persons, card.model.frames, card.normalise.centre, card.normalise.align
    )
    return backbone.eval().requires_grad_(False), preparation


def _card(place: str) -> tuple[EncoderCard, SkeletonLayout]:
    try:
        card = EncoderCard.model_validate(storage.read_json(place))
        return card, SkeletonLayout.build(**card.skeleton.model_dump())
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{place}: not the card of an encoder ({f'{key}: ' if key else ''}{first['msg']})"
        ) from None
    except ValueError as error:
        raise UserError(f"{place}: not the card of an encoder ({error})") from None


def _require_same(place: str, expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    """Raises UserError unless both have the same names, shapes and types."""
    problems = [f"{name} is missing" for name in expected.keys() - found.keys()]
    problems += [f"{name} is unknown" for name in found.keys() - expected.keys()]
    problems += [
        f"{name} is {_describe(found[name])}, not {_describe(expected[name])}"
        for name in expected.keys() & found.keys()
        if _describe(found[name]) != _describe(expected[name])
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UserError(
            f"{place}: not the weights that {CONFIG} describes: {'; '.join(sorted(problems)[:3])}{more}"
        )


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
