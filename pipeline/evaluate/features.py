"""Features of all clips of a protocol: one reading of the store, by actors of Ray Data."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import ray.data
from ray.exceptions import RayError

from pipeline.cluster.placement import bundle
from pipeline.config.cluster import Cluster
from pipeline.core.arithmetic import ceil_div
from pipeline.core.console import Bar
from pipeline.core.errors import UserError, first_line
from pipeline.evaluate.extractor import (
    DIGEST,
    ID,
    Extraction,
    Extractor,
    device_of,
    load_for_extraction,
)
from pipeline.store.clip_store import ClipStore
from pipeline.store.splits import Split
from pipeline.stream.instructions import READ_CPUS, instructions, read_pieces


@dataclass(frozen=True)
class ExtractedFeatures:
    """What one reading of the store gave, in the order of `Split.ids`.

    Attributes:
        features: name of the encoder -> float32 [N, D].
        digests: uint64 [N], equal for exact copies (see `pipeline.store.copies`).
    """

    features: dict[str, np.ndarray]
    digests: np.ndarray

    @classmethod
    def empty(cls, clips: int, widths: dict[str, int]) -> "ExtractedFeatures":
        """Make room for so many clips; `widths` holds D of each encoder."""
        features = {}
        for name, width in widths.items():
            features[name] = np.empty((clips, width), np.float32)
        return cls(features, np.empty(clips, np.uint64))

    def put(self, first: int, block: pa.Table) -> None:
        """Write what actors returned for some clips, the first of them at position `first`."""
        place = slice(first, first + block.num_rows)
        self.digests[place] = block[DIGEST].to_numpy()
        for name, values in self.features.items():
            vectors = block[name].combine_chunks().flatten().to_numpy()
            values[place] = vectors.reshape(block.num_rows, -1)


def extract(
    store: ClipStore, split: Split, encoders: dict[str, str], cluster: Cluster, batch_size: int
) -> ExtractedFeatures:
    """Compute the features of a protocol's clips with exported encoders.

    The encoders see whole clips, in evaluation mode. The features of a clip depend on nothing but
    the clip and the encoder. The random start's norm takes part as one that has seen no batch.

    Args:
        store: where the clips are.
        split: which clips.
        encoders: name -> directory of the export.
        cluster: what the run may use; there are at most `cluster.workers` actors.
        batch_size: clips that an encoder sees at a time.

    Raises:
        UserError: an export cannot be loaded, it takes other clips than the store's, or a shard
            cannot be read.
    """
    widths = _require_fitting(store, encoders)
    dataset = _encoded(store, split, encoders, cluster, batch_size)
    ids = split.ids
    extracted = ExtractedFeatures.empty(len(ids), widths)
    blocks: Iterable[pa.Table] = dataset.iter_batches(batch_format="pyarrow", batch_size=None)
    done = 0
    try:
        with Bar("features", len(ids)) as bar:
            for block in blocks:
                # A figure of the wrong clips would look like any other figure.
                expected = ids[done : done + block.num_rows]
                if not np.array_equal(block[ID].to_numpy(), expected):
                    raise RuntimeError(
                        f"{store.uri}: Ray Data returned other clips than it was told to read"
                    )
                extracted.put(done, block)
                done += block.num_rows
                bar.update(done)
    except RayError as error:
        raise UserError(f"features: {first_line(error)}") from error
    if done != len(ids):
        raise RuntimeError(f"{store.uri}: {done} of {len(ids)} clips were read")
    return extracted


def _require_fitting(store: ClipStore, encoders: dict[str, str]) -> dict[str, int]:
    """Check that the encoders take the store's clips, before any actor starts.

    An error of the driver has one line, an error of an actor has many.

    Returns:
        The width of each encoder's features.
    """
    widths = {}
    for name, uri in encoders.items():
        backbone, prepare = load_for_extraction(name, uri)
        store.require_layout(prepare.layout)
        if prepare.persons != store.persons:
            raise UserError(
                f"{uri}: takes clips of {prepare.persons} persons, "
                f"{store.uri} holds {store.persons}"
            )
        widths[name] = backbone.feature_width
    return widths


def _encoded(
    store: ClipStore, split: Split, encoders: dict[str, str], cluster: Cluster, batch_size: int
) -> ray.data.Dataset:
    """Describe to Ray Data how clips are read and encoded; work starts with the first iteration."""
    ids = split.ids
    resources = bundle(cluster)
    extraction = Extraction(
        encoders=encoders,
        persons=store.persons,
        joints=store.joints,
        threads=cluster.threads,
        device=device_of(cluster),
    )
    # No more actors than batches: the others would only load encoders.
    actors = min(cluster.workers, ceil_div(len(ids), batch_size))
    # Reading tasks need little CPU, so that they fit beside the actors.
    rows = instructions(store, ids).map_batches(
        read_pieces, batch_size=None, batch_format="pyarrow", num_cpus=READ_CPUS
    )
    encoded = rows.map_batches(
        Extractor,
        fn_constructor_args=(extraction,),
        batch_format="pyarrow",
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(size=actors),
        num_cpus=resources["CPU"],
        num_gpus=resources.get("GPU"),
    )
    # Clips come back in order and in the same batches every time. So features are the same bit for
    # bit, however many actors there are.
    encoded.context.execution_options.preserve_order = True
    # A block is about a batch. Otherwise a small store would be a single block, and the work of a
    # single actor.
    clip_bytes = split.index.num_frames[ids].mean() * store.bytes_per_frame
    encoded.context.target_max_block_size = int(batch_size * clip_bytes)
    return encoded
