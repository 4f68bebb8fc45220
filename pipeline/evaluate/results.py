"""What an evaluation found: figures for the summary, and details for the report and others."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.evaluate.copies import has_unseen, unseen_accuracy, unseen_mean
from pipeline.evaluate.people import figures_by_person
from pipeline.evaluate.protocols import Measurement
from pipeline.runs import metric_names
from pipeline.runs.files import RANDOM_ENCODER
from pipeline.store.splits import Split


@dataclass(frozen=True)
class Evaluation:
    """All that one evaluation found, and what it needs to be read.

    Attributes:
        protocol: name of the protocol of the data.
        probe: name of the linear probe's recipe.
        neighbours: how many nearest neighbours vote.
        split: the clips of both sides.
        copies: bool [N_test], exact copies of training clips.
        cost: what the accuracies cost, see `ResolvedRun.cost`.
        feature_width: D.
        measurements: name of the encoder -> what was measured on it.
    """

    protocol: str
    probe: str
    neighbours: int
    split: Split
    copies: np.ndarray
    cost: dict[str, float]
    feature_width: int
    measurements: dict[str, Measurement]

    def summary(self) -> dict[str, Any]:
        """Return flat figures for `summary.json`, accuracies as fractions.

        `*_top1` and `retrieval_*` are over all test clips. Where some of these are exact copies of
        training clips (`test_copies`), `*_unseen` are over the others.
        """
        results: dict[str, Any] = {
            "probe": self.probe,
            "protocol": self.protocol,
            "train_clips": len(self.split.train),
            "test_clips": len(self.split.test),
            "classes": len(np.unique(self.split.train_labels)),
            "feature_width": self.feature_width,
        }
        results |= self.cost
        # Most data sets hold no copies. Their summaries do not mention them.
        if self.copies.any():
            results["test_copies"] = int(self.copies.sum())
        # The trained encoder's figures have plain names, the random start's a prefix.
        for encoder, measurement in self.measurements.items():
            figures = accuracies(measurement) | self.unseen(measurement)
            for name, value in figures.items():
                results[_figure_of(encoder, name)] = value
        return results

    def unseen(self, measurement: Measurement) -> dict[str, float]:
        """Return the figures without copies of training clips; none where they say nothing.

        The training side stays as it is: a copy is only no question.
        """
        if not has_unseen(self.copies):
            return {}
        labels = self.split.test_labels
        linear = unseen_accuracy(measurement.linear.predictions, labels, self.copies)
        knn = unseen_accuracy(measurement.knn.predictions, labels, self.copies)
        precision = unseen_mean(measurement.knn.average_precision, self.copies)
        return {
            metric_names.LINEAR_UNSEEN: linear,
            metric_names.KNN_UNSEEN: knn,
            metric_names.RETRIEVAL_MAP_UNSEEN: precision,
        }

    def details(self) -> dict[str, Any]:
        """Return for `evaluation.json` the linear probe's curves, and the figures of each person.

        Both are by encoder.
        """
        linear = {}
        people = {}
        for encoder, measurement in self.measurements.items():
            linear[encoder] = {
                "test_top1": measurement.linear.test_accuracy,
                "train_loss": measurement.linear.train_loss,
            }
            people[encoder] = figures_by_person(measurement, self.split)
        return {"probe": self.probe, "linear": linear, "people": people}


def accuracies(measurement: Measurement) -> dict[str, float]:
    """Return the accuracies of one encoder over all test clips, and those of retrieval."""
    figures = {
        metric_names.LINEAR: measurement.linear.top1,
        metric_names.LINEAR_BEST: measurement.linear.best_top1,
        metric_names.KNN: measurement.knn.top1,
        metric_names.RETRIEVAL_MAP: measurement.knn.mean_average_precision,
    }
    for k, share in measurement.knn.recalls.items():
        figures[metric_names.RECALLS[k]] = share
    return figures


def _figure_of(encoder: str, name: str) -> str:
    if encoder == RANDOM_ENCODER:
        return metric_names.random_start(name)
    return name
