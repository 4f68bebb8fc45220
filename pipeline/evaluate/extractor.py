"""What an actor of Ray Data does with a batch of clips: encode it with every encoder."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from models.backbone import Backbone
from pipeline.config.cluster import Cluster
from pipeline.encoder.export import Preparation, load_encoder
from pipeline.evaluate.feature_norm import forget_statistics
from pipeline.runs.files import RANDOM_ENCODER
from pipeline.store.blocks import table_to_clips
from pipeline.store.copies import digests

# The columns of what an actor returns; the others are named after the encoders.
ID = "id"
DIGEST = "digest"


def device_of(cluster: Cluster) -> str:
    """Name the device of a process that has the resources of a training worker."""
    if cluster.gpu:
        return "cuda"
    return "cpu"


def load_for_extraction(name: str, uri: str) -> tuple[Backbone, Preparation]:
    """Load an exported encoder as evaluation wants it.

    An earlier evaluation may have written statistics into the export of the random start. They are
    forgotten here, so that a repeated evaluation does not normalise twice.

    Args:
        name: of the encoder, see `pipeline.runs.files`.
        uri: directory of the export.

    Returns:
        The frozen backbone and what prepares clips for it.

    Raises:
        UserError: there is no export, or it is damaged.
    """
    backbone, prepare = load_encoder(uri)
    if name == RANDOM_ENCODER:
        forget_statistics(backbone)
    return backbone, prepare


@dataclass(frozen=True)
class Extraction:
    """What an actor needs to know.

    Attributes:
        encoders: name -> directory of the export.
        persons: M of the store's clips.
        joints: V of the store's clips.
        threads: of one actor.
        device: where encoders run, "cpu" or "cuda".
    """

    encoders: dict[str, str]
    persons: int
    joints: int
    threads: int
    device: str


class Extractor:
    """Holds the encoders and turns rows of the store into features."""

    def __init__(self, extraction: Extraction):
        # Several actors share a node's cores.
        torch.set_num_threads(extraction.threads)
        self.extraction = extraction
        self.encoders = {}
        for name, uri in extraction.encoders.items():
            backbone, prepare = load_for_extraction(name, uri)
            self.encoders[name] = (backbone.to(extraction.device), prepare)

    @property
    def widths(self) -> dict[str, int]:
        """The width of each encoder's features."""
        widths = {}
        for name, (backbone, _) in self.encoders.items():
            widths[name] = backbone.feature_width
        return widths

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Encode a batch of B clips.

        Args:
            rows: `id` and `joints` of each clip, as `read_pieces` yields them.

        Returns:
            A row a clip: `id`, `digest` (equal for exact copies), and a column of D values for each
            encoder.
        """
        columns = {
            ID: rows["id"],
            DIGEST: pa.array(digests(clip.as_buffer() for clip in rows["joints"])),
        }
        # Clips stay ragged until each encoder's own preparation brings them to its length.
        clips = table_to_clips(rows, self.extraction.persons, self.extraction.joints)
        clips = clips.to(self.extraction.device)
        for name, (backbone, prepare) in self.encoders.items():
            with torch.inference_mode():
                features = backbone.features(prepare(clips)).float().cpu().numpy()
            columns[name] = _vectors(features)
        return pa.table(columns)


def _vectors(features: np.ndarray) -> pa.FixedSizeListArray:
    """Turn features [B, D] into a column of B vectors."""
    return pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1])
