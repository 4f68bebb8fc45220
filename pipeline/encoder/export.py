"""Writing and loading an encoder: a directory with `config.json` and `model.safetensors`.

Loading executes no code of the files. Users import `load_encoder` from `skelfuse`; the docstring
there has an example.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
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
from pipeline.core.errors import UserError, first_line

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
# A message names so many wrong weights, and counts the others.
NAMED_PROBLEMS = 3


class EncoderCard(Section):
    """The content of `config.json`: what is needed to rebuild the encoder and prepare clips."""

    format: Literal["skelfuse-encoder"] = "skelfuse-encoder"
    version: Literal[1] = 1
    name: str
    skeleton: Skeleton
    persons: Count
    model: Model
    normalise: Normalise


@dataclass(frozen=True)
class Preparation:
    """Prepares recorded clips for the encoder: centred, aligned, and all of one length.

    Attributes:
        layout: the V joints and the bones between them.
        persons: M, the persons of a clip. Absent persons are zeros.
        frames: T, the frames to which a clip is resampled.
        centre: what moves to the origin, see `models.normalise`.
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
            clips: a batch, or B arrays [length, M, V, 3] in metres. A length is 1 or more.

        Returns:
            Views [B, T, M, V, 3], which `Backbone.features` takes.

        Raises:
            ValueError: a clip has not the persons and joints of the encoder.
        """
        if not isinstance(clips, ClipBatch):
            clips = self._batch(clips)
        if clips.frames.shape[1:] != (self.persons, self.layout.num_joints, 3):
            raise ValueError(self._mismatch(clips.frames))
        centred = normalise(clips, self.layout, self.centre, self.align)
        return whole(centred, self.frames)

    def _batch(self, arrays: Sequence[np.ndarray | Tensor]) -> ClipBatch:
        """Check arrays of single clips, and join them to a batch."""
        frames = []
        for number, array in enumerate(arrays):
            # A copy, because an array of the caller may be read-only or of another type.
            clip = torch.from_numpy(np.array(array, np.float32))
            if clip.dim() != 4 or clip.shape[-1] != 3 or len(clip) == 0:
                raise ValueError(
                    f"clip {number} must be [frames, persons, joints, 3], is {list(clip.shape)}"
                )
            if clip.shape[1:3] != (self.persons, self.layout.num_joints):
                raise ValueError(self._mismatch(clip))
            frames.append(clip)
        # The frames of all clips follow one another: lengths 3, 2, 4 give offsets 0, 3, 5, 9.
        lengths = map(len, frames)
        offsets = torch.tensor([0, *lengths]).cumsum(0)
        ids = torch.arange(len(frames))
        # The encoder needs no labels; -1 means unknown.
        unlabelled = torch.full((len(frames),), -1)
        return ClipBatch(torch.cat(frames), offsets, ids, unlabelled)

    def _mismatch(self, frames: Tensor) -> str:
        return (
            f"this encoder takes clips of {self.persons} persons and {self.layout.num_joints} "
            f"joints ({self.layout.name}), "
            f"got {frames.shape[1]} persons and {frames.shape[2]} joints"
        )


def export_encoder(uri: str, backbone: Backbone, config: Config) -> None:
    """Write an encoder into a directory.

    Args:
        uri: the directory.
        backbone: the encoder that was built from `config`.
        config: the configuration of the run.

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
    # The card is written last, and marks the export as complete.
    write_weights(uri, backbone)
    text = card.model_dump_json(indent=2) + "\n"
    storage.write_bytes(storage.join(uri, CONFIG), text.encode())


def write_weights(uri: str, backbone: Backbone) -> None:
    """Write the weights of an export, the whole file or nothing. Its card stays as it is.

    Args:
        uri: the directory of the export.
        backbone: the encoder with the weights.

    Raises:
        UserError: the file cannot be written.
    """
    weights = {}
    for name, value in backbone.state_dict().items():
        weights[name] = value.detach().cpu().contiguous()
    storage.write_bytes(storage.join(uri, WEIGHTS), save(weights, metadata={"format": "pt"}))


def load_encoder(uri: str) -> tuple[Backbone, Preparation]:
    """Load an exported encoder. This executes no code of the files.

    Args:
        uri: the directory of the export, on a local disk or on object storage.

    Returns:
        The backbone, frozen and in evaluation mode, and the preparation of clips for it.

    Raises:
        UserError: a file is missing or damaged, or the weights do not fit the card. The message
            names the file.
    """
    card, layout = _read_card(storage.join(uri, CONFIG))
    # Building draws initial weights, which are overwritten below. The fork keeps the caller's
    # random state as it is.
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
    """Read and check `config.json`."""
    if not storage.exists(path):
        raise UserError(f"{path}: not found")
    try:
        card = EncoderCard.model_validate(storage.read_object(path))
        return card, SkeletonLayout.build(**card.skeleton.model_dump())
    except ValueError as error:
        # Those of pydantic are ValueErrors, too.
        raise UserError(
            f"{path}: not the card of an encoder ({first_line(error)}); "
            "delete it, then the stage pretrain of its run writes it again"
        ) from None


def _require_same(path: str, expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    """Raise UserError unless both have weights of the same names, shapes and types."""
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
    """Return the type and shape of a tensor in words, such as `float32 [16, 16]`."""
    kind = str(tensor.dtype).removeprefix("torch.")
    return f"{kind} {list(tensor.shape)}"
