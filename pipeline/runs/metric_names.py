"""The names of all figures, and what people are shown for them: the one table of both.

Three kinds of names:
- figures of the summary (`linear_top1`), flat keys of `summary.json`;
- metrics over time (`loss/view`, `train/clips_per_second`), rows of `metrics.jsonl`;
- the same in MLflow, where `_top1` is written `/top1` so that its pages group them.
"""

# Accuracies of the encoder as fractions of the test clips, and their labels.
LINEAR = "linear_top1"
KNN = "knn_top1"
LINEAR_BEST = "linear_best_top1"
LINEAR_UNSEEN = "linear_top1_unseen"
KNN_UNSEEN = "knn_top1_unseen"
ACCURACIES = {
    LINEAR: "linear",
    KNN: "1-NN",
    LINEAR_UNSEEN: "linear, unseen",
    KNN_UNSEEN: "1-NN, unseen",
}
# How the same figures of the encoder before training begin.
RANDOM_PREFIX = "random_"

# What accuracies cost.
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
WATCH_LINEAR = "watch/linear_top1"
WATCH_KNN = "watch/knn_top1"

# The figures that the last lines of a run show, where they were measured.
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
    "test_copies",
    LINEAR_UNSEEN,
    KNN_UNSEEN,
)


def random_start(name: str) -> str:
    """Return the name of a figure of the encoder before training.

    Example: `linear_top1` becomes `random_linear_top1`.
    """
    return RANDOM_PREFIX + name


def is_accuracy(name: str) -> bool:
    """Whether a figure is a fraction that people read in percent."""
    return "_top1" in name


def in_mlflow(name: str) -> str:
    """Return the name of a summary's figure in MLflow.

    Example: `random_linear_top1` becomes `random_linear/top1`.
    """
    return name.replace("_top1", "/top1")
