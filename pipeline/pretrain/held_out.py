"""Measuring an encoder while it trains, in the process that trains it: the criterion of a search.

Accuracies are those of the held-out people of the trial's protocol, measured as the stage
`evaluate` does. The figures that need no labels are of clips of the training side.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from models.backbone import Backbone
from models.monitors import LEAST_CLIPS, quality
from pipeline.config.evaluate import Evaluate
from pipeline.config.sweep import Criterion
from pipeline.core.errors import UserError
from pipeline.encoder.export import Preparation
from pipeline.pretrain.kept_clips import KeptClips
from pipeline.pretrain.labelled_sides import LabelledSides
from pipeline.pretrain.reference_views import ReferencePairs
from pipeline.pretrain.watched_clips import first_of_each_class
from pipeline.runs.metric_names import (
    ALIGNMENT,
    ALIGNMENT_UNIFORMITY,
    CRITERIA,
    EFFECTIVE_RANK,
    UNIFORMITY,
)
from pipeline.runs.resolved import ResolvedRun

# The alignment is a mean over clips, and two passes over so many show it well enough.
PAIRED_CLIPS = 256


@dataclass(frozen=True)
class HeldOut:
    """The clips on which a trial is measured, kept in memory, and how they are measured.

    Attributes:
        clips: all clips that are measured.
        prepare: brings them to the form that the encoder takes.
        settings: how features are measured.
        seed: of the linear probe.
        training: ids of the clips of the training side that the figures without labels are of.
        pairs: some of these, of which the encoder sees two views.
        sides: the gallery and the queries; None for a criterion that needs no labels.
    """

    clips: KeptClips
    prepare: Preparation
    settings: Evaluate
    seed: int
    training: np.ndarray
    pairs: ReferencePairs
    sides: LabelledSides | None

    @classmethod
    def of(cls, run: ResolvedRun, criterion: Criterion) -> "HeldOut":
        """Choose and read the clips of a trial.

        A criterion without labels looks at the training side alone: the other side of the protocol
        is then the one that the winner is tested on.

        Args:
            run: the trial. Its protocol is the one that `choosing_overrides` asks for.
            criterion: of the search.

        Raises:
            UserError: there are too few clips to measure, or a shard cannot be read.
        """
        store = run.store
        candidates = store.select(run.sides["train"], run.index)
        # Rows of a store are in a random order, so the first ones are a fair draw, and few row
        # groups hold them.
        training = candidates[: criterion.max_clips]
        if len(training) < LEAST_CLIPS:
            raise UserError(
                f"{store.uri}: protocol {run.sides['train'].protocol!r} has {len(training)} clips "
                f"on its training side; sweep.criterion needs at least {LEAST_CLIPS}"
            )
        labelled = None
        wanted = training
        if CRITERIA[criterion.metric].needs_labels:
            labelled = _choose(run, candidates, criterion)
            wanted = np.unique(np.concatenate([training, *labelled]))
        clips = KeptClips.read(store, wanted)
        sides = None
        if labelled is not None:
            sides = LabelledSides.of(clips, run.index.label, *labelled)
        config = run.config
        normalise = config.data.normalise
        batch_size = config.evaluate.batch_size
        return cls(
            clips=clips,
            prepare=Preparation(
                run.layout, store.persons, config.model.frames, **normalise.model_dump()
            ),
            settings=config.evaluate,
            seed=config.seed,
            training=training,
            pairs=ReferencePairs(
                clips.subset(training[:PAIRED_CLIPS]), normalise.centre, normalise.align, batch_size
            ),
            sides=sides,
        )

    def measure(self, backbone: Backbone) -> dict[str, float]:
        """Measure an encoder. The same weights give the same figures.

        No random state is touched, and the encoder is afterwards in the mode it was in.

        Args:
            backbone: of the trial, on the device where it trains.

        Returns:
            Names in `CRITERIA` -> values; accuracies only if the criterion needs labels.

        Raises:
            ValueError: the features, or the losses of the linear probe, are not finite: the
                training has diverged.
        """
        device = next(backbone.parameters()).device
        size = self.settings.batch_size
        with _evaluating(backbone):
            features = self.clips.encode(
                lambda clips: backbone.features(self.prepare(clips.to(device))), size
            ).float()
            pairs = self.pairs.encode(backbone, device)
        if not torch.isfinite(features).all():
            raise ValueError("features are not finite")

        parts = tuple(backbone.parts.values())
        rows = self.clips.rows(self.training).to(device)
        values = quality(features[rows], pairs, parts)
        figures = {
            EFFECTIVE_RANK: float(values["effective_rank"]),
            UNIFORMITY: float(values["uniformity"]),
            ALIGNMENT: float(values["alignment"]),
        }
        figures[ALIGNMENT_UNIFORMITY] = figures[ALIGNMENT] + figures[UNIFORMITY]
        if self.sides is not None:
            figures |= self.sides.accuracies(features, parts, self.settings, self.seed)
        return figures


def _choose(
    run: ResolvedRun, candidates: np.ndarray, criterion: Criterion
) -> tuple[np.ndarray, np.ndarray]:
    """Choose a gallery of the training side, and queries of the held-out one.

    Only clips with a label are chosen, and only queries whose action the gallery shows.

    Returns:
        Ids of both, ascending.
    """
    labels = run.index.label
    others = run.store.select(run.sides["test"], run.index)
    gallery = first_of_each_class(candidates, labels, criterion.max_clips)
    known = others[np.isin(labels[others], labels[gallery])]
    queries = first_of_each_class(known, labels, criterion.max_clips)
    if not len(queries):
        raise UserError(
            f"{run.store.uri}: the sides of protocol {run.sides['train'].protocol!r} have no "
            f"labelled action in common, so sweep.criterion.metric={criterion.metric} cannot be "
            "measured"
        )
    return gallery, queries


@contextmanager
def _evaluating(backbone: Backbone) -> Iterator[None]:
    """Put an encoder into evaluation mode for a while."""
    was_training = backbone.training
    backbone.eval()
    try:
        yield
    finally:
        backbone.train(was_training)
