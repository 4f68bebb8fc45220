"""The names of all figures and metrics, with the labels that people see.

Three kinds of names:
- figures, measured once (`linear_top1`): the keys of `summary.json`;
- metrics over time (`loss/view`, `train/clips_per_second`): the keys in a row of `metrics.jsonl`;
- figures in MLflow: `_top1` becomes `/top1`, and `retrieval_` becomes `retrieval/`, because its
  pages group names by their first part.
"""

from typing import NamedTuple

# What the features of the encoder are worth, as fractions, and their labels: accuracies over the
# test clips, and how well a test clip finds the training clips of its action. `unseen` figures
# leave out test clips that are exact copies of training clips.
LINEAR = "linear_top1"
KNN = "knn_top1"
RETRIEVAL_MAP = "retrieval_map"
LINEAR_BEST = "linear_best_top1"
LINEAR_UNSEEN = "linear_top1_unseen"
KNN_UNSEEN = "knn_top1_unseen"
RETRIEVAL_MAP_UNSEEN = "retrieval_map_unseen"
# K -> the share of the test clips with a training clip of their action among the K nearest.
RECALLS = {5: "retrieval_recall_at_5", 10: "retrieval_recall_at_10"}
ACCURACIES = {
    LINEAR: "linear",
    KNN: "1-NN",
    RETRIEVAL_MAP: "mAP",
    RECALLS[5]: "recall at 5",
    RECALLS[10]: "recall at 10",
    LINEAR_UNSEEN: "linear, unseen",
    KNN_UNSEEN: "1-NN, unseen",
    RETRIEVAL_MAP_UNSEEN: "mAP, unseen",
}
# The figures that are also measured of each test person.
PEOPLE_FIGURES = (RETRIEVAL_MAP, LINEAR, KNN)
# The same figures of the encoder before training begin with this.
RANDOM_PREFIX = "random_"

# The size of the networks, and the computation for one clip.
PARAMETERS = "parameters"
GFLOPS = "gflops"
PRETRAINING_PARAMETERS = "pretraining_parameters"
PRETRAINING_GFLOPS = "pretraining_gflops"
COSTS = (PARAMETERS, GFLOPS, PRETRAINING_PARAMETERS, PRETRAINING_GFLOPS)

# Metrics over time.
LOSS = "loss"
LOSS_TERM_PREFIX = "loss/"
STEP = "step"
EPOCH = "epoch"
TIME = "time"
CLIPS_PER_SECOND = "train/clips_per_second"
LEARNING_RATE = "train/learning_rate"
GRADIENT_NORM = "train/gradient_norm"
WATCH_PREFIX = "watch/"


class CriterionInfo(NamedTuple):
    """A figure by which the points of a search can be compared.

    Attributes:
        label: for people.
        mode: `max` if a large value is good, else `min`.
        needs_labels: whether clips must have labels.
    """

    label: str
    mode: str
    needs_labels: bool


EFFECTIVE_RANK = "effective_rank"
ALIGNMENT = "alignment"
UNIFORMITY = "uniformity"
ALIGNMENT_UNIFORMITY = "alignment_uniformity"
# The figures that the process of a trial measures on clips that it was not trained with (those with
# labels), or on clips of its training side (those without).
CRITERIA = {
    LINEAR: CriterionInfo("linear, held out", "max", True),
    KNN: CriterionInfo("1-NN, held out", "max", True),
    RETRIEVAL_MAP: CriterionInfo("mAP, held out", "max", True),
    EFFECTIVE_RANK: CriterionInfo("effective rank", "max", False),
    ALIGNMENT: CriterionInfo("alignment", "min", False),
    UNIFORMITY: CriterionInfo("uniformity", "min", False),
    ALIGNMENT_UNIFORMITY: CriterionInfo("alignment + uniformity", "min", False),
}
# In MLflow and in rows of metrics a criterion begins with this.
HELD_OUT_PREFIX = "held_out/"

# The figures in the last lines of a run, as far as they were measured.
HEADLINES = (
    "clips",
    "rejected",
    LOSS,
    "collapsed",
    "clips_per_second",
    *COSTS,
    LINEAR,
    RANDOM_PREFIX + LINEAR,
    KNN,
    RANDOM_PREFIX + KNN,
    RETRIEVAL_MAP,
    RANDOM_PREFIX + RETRIEVAL_MAP,
    "test_copies",
    LINEAR_UNSEEN,
    KNN_UNSEEN,
    RETRIEVAL_MAP_UNSEEN,
)

# Parts of names -> the same parts in MLflow. They are the parts that tell a fraction, too.
_IN_MLFLOW = {
    "_top1": "/top1",
    "retrieval_map": "retrieval/map",
    "retrieval_recall_at_": "retrieval/recall_at_",
}


def random_start(name: str) -> str:
    """Return the name of the same figure of the encoder before training.

    Example: `linear_top1` becomes `random_linear_top1`.
    """
    return RANDOM_PREFIX + name


def is_accuracy(name: str) -> bool:
    """True if a figure is a fraction, which people read in percent."""
    return any(part in name for part in _IN_MLFLOW)


def in_mlflow(name: str) -> str:
    """Return the name of a figure in MLflow.

    Example: `random_linear_top1` becomes `random_linear/top1`.
    """
    for ours, theirs in _IN_MLFLOW.items():
        name = name.replace(ours, theirs)
    return name


def from_mlflow(name: str) -> str:
    """Return the name of a figure that MLflow knows as `name`: the inverse of `in_mlflow`."""
    for ours, theirs in _IN_MLFLOW.items():
        name = name.replace(theirs, ours)
    return name
