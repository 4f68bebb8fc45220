"""The stage `evaluate`: frozen features of both sides of the protocol, a linear probe and retrieval on them.

The encoder as training left it and as it started (`random`) see the same clips in the same pass, and both are measured:
a figure is worth what it adds to its random row. With late fusion each network has a linear probe of its own and the
mean of their softmax scores decides, as the field fuses late; nearest neighbours go by the mean of their cosines.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
import torch
from ray.exceptions import RayError
from safetensors.numpy import save
from torch import Tensor

from models.cost import cost, training_cost
from models.probes import LinearProbe, linear_evaluation, retrieval
from pipeline.cluster.session import bundle, hushed
from pipeline.config.schema import Cluster, Config
from pipeline.core import storage
from pipeline.core.console import Bar, say, table
from pipeline.core.errors import UserError, first_line
from pipeline.encoder.build import build_framework, open_store
from pipeline.encoder.export import load_encoder
from pipeline.runs.rundir import RunDir
from pipeline.store.blocks import table_to_clips
from pipeline.store.clip_store import ClipStore
from pipeline.store.protocols import sides_of
from pipeline.store.splits import Split
from pipeline.stream.reader import READ_CPUS, instructions, read_pieces

if TYPE_CHECKING:  # Workers import this module, and MLflow would take each of them seconds.
    from pipeline.runs.tracking import Tracker

# Names of the exported encoders in `output`, and how their figures begin in the summary.
ENCODERS = {"encoder": "", "random": "random_"}
RESULTS = "evaluation.json"
FEATURES = "features"


def evaluate(config: Config, run: RunDir, tracker: Tracker) -> dict[str, Any]:
    """Measure the run's encoder and its random start; returns flat results for the summary, accuracies as fractions.

    `*_top1` are over all test clips; where some of these are exact copies of training clips (`test_copies`),
    `*_top1_unseen` are over the others.
    Leaves `features/<encoder>.safetensors` (see `_save`) and `evaluation.json` (the probe's curves) in `output`.
    Raises UserError for a store, protocol, label or export that does not allow it.
    """
    store = open_store(config, run)
    tracker.dataset(store, "evaluation")
    encoders = {name: run.path(name) for name in ENCODERS}
    split = Split.of(store, sides_of(config.data.protocols, config.data.protocol))
    features, contents = extract(store, split, encoders, config.cluster, config.evaluate.batch_size)
    if config.model.feature_norm == "batch":
        features["random"] = normed(features["random"], split)
    measured = measure(features, split, config, parts_of(config))
    copies = copied(contents, split)
    card = cost_card(config)
    for name, result in measured.items():
        storage.write_bytes(
            run.path(FEATURES, f"{name}.safetensors"), _save(features[name], split, result)
        )
    curves = {
        name: {"test_top1": m.test_accuracy, "train_loss": m.train_loss}
        for name, m in measured.items()
    }
    storage.write_json(run.path(RESULTS), {"probe": config.evaluate.probe, "linear": curves})
    _show(config, split, measured, copies, card)
    results = {
        "probe": config.evaluate.probe,
        "protocol": config.data.protocol,
        "train_clips": len(split.train),
        "test_clips": len(split.test),
        "classes": len(np.unique(split.train_labels)),
        "feature_width": features["encoder"].shape[1],
        **card,
    }
    if copies.any():
        results["test_copies"] = int(copies.sum())
    for name, m in measured.items():
        figures = m.figures() | m.unseen(split.test_labels, copies)
        results |= {f"{ENCODERS[name]}{key}": value for key, value in figures.items()}
    return results


def parts_of(config: Config) -> dict[str, slice]:
    """What each network of the configured encoder adds to its features, see `Backbone.parts`."""
    with torch.device("meta"):
        return build_framework(config).backbone.parts


def cost_card(config: Config) -> dict[str, float]:
    """What the accuracies cost: `parameters` of the encoder and `gflops` of its inference for one clip; in pretraining
    `pretraining_parameters`, heads included, and `pretraining_gflops` of a step for one clip, forward and backward.
    """
    with torch.device("meta"):
        framework = build_framework(config)
    step = training_cost(framework, config.train.batch_size // config.train.accumulate)
    return cost(framework.backbone) | {
        "pretraining_parameters": step["training_parameters"],
        "pretraining_gflops": step["training_gflops"],
    }


def copied(contents: np.ndarray, split: Split) -> np.ndarray:
    """Whether each test clip is an exact copy of a training clip, bool [len(split.test)].

    contents: hashes of `split.ids`, as `extract` returns them.
    """
    train, test = split.rows(contents)
    return np.isin(test, train)


def normed(features: np.ndarray, split: Split) -> np.ndarray:
    """Features [N, D] of `split.ids` as a feature norm gives them that knows the training side's statistics.

    For the random start: its norm has seen no batch, and without statistics nearest neighbours by cosine see little but
    the mean that all features share. What training adds to its row is then training's, and nothing of it the norm's.
    """
    train, _ = split.rows(features)
    return (features - train.mean(0)) / np.sqrt(train.var(0) + 1e-5)


def _show(
    config: Config,
    split: Split,
    measured: dict[str, Measured],
    copies: np.ndarray,
    card: dict[str, float],
) -> None:
    nearest = f"{config.evaluate.knn.k}-NN"
    columns = ["", "linear", nearest]
    rows = [[name, _percent(m.linear_top1), _percent(m.knn_top1)] for name, m in measured.items()]
    unseen = [m.unseen(split.test_labels, copies) for m in measured.values()]
    if any(unseen):
        columns += ["linear unseen", f"{nearest} unseen"]
        rows = [
            row + [_percent(value) for value in figures.values()]
            for row, figures in zip(rows, unseen, strict=True)
        ]
    columns += ["weights", "GFLOPs", "training"]  # narrow enough for a console
    costs = [f"{card['parameters'] / 1e6:.2f} M", f"{card['gflops']:.3g}"]
    steps = [f"{card['pretraining_gflops']:.3g}" if name == "encoder" else "0" for name in measured]
    table(
        f"{config.data.protocol}: {len(split.train)} training and {len(split.test)} test clips, "
        f"probe {config.evaluate.probe}, last epoch, top-1; GFLOPs a clip of inference and of a step of training",
        columns,
        [[*row, *costs, step] for row, step in zip(rows, steps, strict=True)],
    )
    if copies.any():
        say(f"  {copies.sum()} test clips are exact copies of training clips; unseen: without them")


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


class Extractor:
    """What an actor does: holds the encoders, turns rows of the store into features, one column an encoder, and the
    hash `content` of each clip's coordinates.
    """

    def __init__(
        self, encoders: dict[str, str], persons: int, joints: int, threads: int, device: str
    ):
        torch.set_num_threads(threads)
        self.encoders = {name: load_encoder(uri) for name, uri in encoders.items()}
        self.persons, self.joints, self.device = persons, joints, device
        for backbone, _ in self.encoders.values():
            backbone.to(device)

    def __call__(self, rows: pa.Table) -> pa.Table:
        hashes = [
            hashlib.blake2b(clip.as_buffer(), digest_size=8).digest() for clip in rows["joints"]
        ]
        columns = {
            "id": rows["id"],
            "content": pa.array(np.frombuffer(b"".join(hashes), np.uint64)),
        }
        clips = table_to_clips(rows, self.persons, self.joints).to(self.device)
        for name, (backbone, prepare) in self.encoders.items():
            with torch.inference_mode():
                features = backbone.features(prepare(clips)).float().cpu().numpy()
            columns[name] = pa.FixedSizeListArray.from_arrays(
                pa.array(features.ravel()), features.shape[1]
            )
        return pa.table(columns)


def extract(
    store: ClipStore, split: Split, encoders: dict[str, str], cluster: Cluster, batch_size: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Features of exported encoders (name -> location), float32 [len(split.ids), D] each, in the order of `split.ids`,
    and a hash of what each clip holds, uint64 [len(split.ids)]: equal for exact copies.

    Whole clips, evaluation mode, one reading of the store, at most `cluster.workers` Ray Data actors. What a clip's
    features are depends on nothing but the clip and the encoder.
    Raises UserError for an export that cannot be loaded or belongs to other clips than the store's.
    """
    widths = {}
    for name, uri in encoders.items():  # here rather than first in an actor: an error has one line
        backbone, prepare = load_encoder(uri)
        store.require_layout(prepare.layout)
        if prepare.persons != store.persons:
            raise UserError(
                f"{uri}: takes clips of {prepare.persons} persons, {store.uri} holds {store.persons}"
            )
        widths[name] = backbone.feature_width
    ids = split.ids
    features = {name: np.empty((len(ids), width), np.float32) for name, width in widths.items()}
    contents = np.empty(len(ids), np.uint64)
    resources = bundle(cluster)
    rows = instructions(store, ids).map_batches(
        read_pieces, batch_size=None, batch_format="pyarrow", num_cpus=READ_CPUS
    )
    encoded = rows.map_batches(
        Extractor,
        fn_constructor_kwargs={
            "encoders": encoders,
            "persons": store.persons,
            "joints": store.joints,
            "threads": cluster.threads,
            "device": "cuda" if cluster.gpu else "cpu",
        },
        batch_format="pyarrow",
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(size=min(cluster.workers, -(-len(ids) // batch_size))),
        num_cpus=resources["CPU"],
        num_gpus=resources.get("GPU"),
    )
    # Clips come back in order and in the same batches every time: the same features bit for bit, however many actors.
    encoded.context.execution_options.preserve_order = True
    # Blocks of about a batch, or a small store would be a single block, and the work of a single actor.
    clip_bytes = split.index.num_frames[ids].mean() * store.bytes_per_frame
    encoded.context.target_max_block_size = int(batch_size * clip_bytes)
    done = 0
    try:
        with Bar("features", len(ids)) as bar, hushed(cluster.quiet):
            for block in encoded.iter_batches(batch_format="pyarrow", batch_size=None):
                place = slice(done, done + block.num_rows)
                if not np.array_equal(block["id"].to_numpy(), ids[place]):
                    raise RuntimeError(
                        f"{store.uri}: Ray Data returned other clips than it was told to read"
                    )
                contents[place] = block["content"].to_numpy()
                for name, values in features.items():
                    values[place] = (
                        block[name]
                        .combine_chunks()
                        .flatten()
                        .to_numpy()
                        .reshape(block.num_rows, -1)
                    )
                done += block.num_rows
                bar.update(done)
    except RayError as error:
        raise UserError(f"features: {first_line(error)}") from error
    if done != len(ids):
        raise RuntimeError(f"{store.uri}: {done} of {len(ids)} clips were read")
    return features, contents


@dataclass(frozen=True)
class Measured:
    """Figures of one encoder and what they were computed from; predictions and logits of the test side."""

    linear_top1: float
    linear_best_top1: float
    knn_top1: float
    test_accuracy: list[float]
    train_loss: list[float]
    logits: np.ndarray
    linear: np.ndarray
    knn: np.ndarray

    def figures(self) -> dict[str, float]:
        return {
            name: getattr(self, name) for name in ("linear_top1", "linear_best_top1", "knn_top1")
        }

    def unseen(self, labels: np.ndarray, copies: np.ndarray) -> dict[str, float]:
        """Accuracies over the test clips that are no copies, both [N_test]; empty where all or none are."""
        if copies.all() or not copies.any():
            return {}
        kept = ~copies
        return {
            "linear_top1_unseen": float((self.linear == labels)[kept].mean()),
            "knn_top1_unseen": float((self.knn == labels)[kept].mean()),
        }


def measure(
    features: dict[str, np.ndarray], split: Split, config: Config, parts: dict[str, slice]
) -> dict[str, Measured]:
    """Probe the features of every encoder, each in a Ray task with a worker's resources (and GPU, if it has one)."""
    resources = bundle(config.cluster)
    task = ray.remote(num_cpus=resources["CPU"], num_gpus=resources.get("GPU", 0), max_retries=0)(
        _measure
    )
    settings = {
        "train_labels": split.train_labels,
        "test_labels": split.test_labels,
        "probe": LinearProbe(**config.evaluate.linear.model_dump()),
        "parts": tuple(parts.values()),
        "k": config.evaluate.knn.k,
        "seed": config.seed,
        "threads": config.cluster.threads,
        "gpu": config.cluster.gpu,
    }
    tasks = {
        name: task.remote(*split.rows(values), **settings) for name, values in features.items()
    }
    try:
        return {name: ray.get(pending) for name, pending in tasks.items()}
    except RayError as error:
        raise UserError(f"evaluate: {first_line(error)}") from error


def _measure(
    *sides: np.ndarray,
    train_labels: np.ndarray,
    test_labels: np.ndarray,
    probe: LinearProbe,
    parts: tuple[slice, ...],
    k: int,
    seed: int,
    threads: int,
    gpu: bool,
) -> Measured:
    """`sides`: the features of the training and of the test side."""
    torch.set_num_threads(threads)

    def tensor(array: np.ndarray) -> Tensor:
        return torch.tensor(
            array, device="cuda" if gpu else "cpu"
        )  # a copy: Ray's arrays are shared and read-only

    train, test = map(tensor, sides)
    labelled = train, tensor(train_labels), test, tensor(test_labels)
    linear = linear_evaluation(*labelled, probe, seed, parts)
    knn = retrieval(*labelled, k, parts=parts)
    return Measured(
        linear_top1=linear.accuracy,
        linear_best_top1=linear.best,
        knn_top1=knn.accuracy,
        test_accuracy=linear.test_accuracy,
        train_loss=linear.train_loss,
        logits=linear.logits.numpy(),
        linear=linear.predictions.numpy(),
        knn=knn.predictions.numpy(),
    )


def _save(features: np.ndarray, split: Split, result: Measured) -> bytes:
    """Safetensors of one encoder: `train/` and `test/` with ids, labels and features [N, D]; of the test side also the
    linear probe's logits [N, classes] (a column a label of the training side, ascending) and both predictions."""
    train, test = split.rows(features)
    return save(
        {
            "train/ids": split.train,
            "train/labels": split.train_labels,
            "train/features": train,
            "test/ids": split.test,
            "test/labels": split.test_labels,
            "test/features": test,
            "test/logits": result.logits,
            "test/linear": result.linear,
            "test/knn": result.knn,
        }
    )
