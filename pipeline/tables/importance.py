"""How much each parameter matters for a figure, as far as the compared runs can tell.

The method is the permutation importance of scikit-learn. A forest of random trees learns to predict
the figure from the parameters that differ. Then the values of one parameter are shuffled among runs
that the forest has not seen, and what its predictions lose is the importance of that parameter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.inspection import permutation_importance
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold

from pipeline.tables.compared import ComparedRun, by_group, differing, is_real

# With fewer groups nothing can be learned.
FEWEST = 8
# More parameters than this are not told apart by some hundred runs.
MOST_PARAMETERS = 24
FOLDS = 5
TREES = 40
REPEATS = 5

METHOD = (
    "Permutation importance (scikit-learn): a forest of 40 extremely randomised trees learns the "
    "figure from the parameters that differ, in 5 folds; shown is how much of the variance of "
    "unseen runs its prediction loses if one parameter is shuffled, with the deviation over folds."
)
LIMITS = (
    "Seeds of a group are averaged first. Only finished runs count. Parameters that always change "
    "together share their importance, and a parameter that a search kept in a narrow range looks "
    "less important than it is."
)


@dataclass(frozen=True)
class Importance:
    """What matters for one figure.

    Attributes:
        bars: (parameter, mean, deviation over folds), the most important first.
        explained: the share of the variance of unseen runs that the forest explains; where it is
            small, importances mean little. It can be negative.
        groups: how many groups it learned from.
    """

    bars: list[tuple[str, float, float]]
    explained: float
    groups: int


def importance(runs: Sequence[ComparedRun], figure: str) -> Importance | None:
    """Return how much the parameters matter for a figure.

    Returns:
        None where fewer than FEWEST groups finished with the figure, or nothing differs.
    """
    members, target = _averaged(runs, figure)
    if len(members) < FEWEST or np.ptp(target) == 0:
        return None
    keys = differing(members)[:MOST_PARAMETERS]
    if not keys:
        return None
    features = np.stack([_numbers([run.parameters.get(key) for run in members]) for key in keys], 1)
    predicted = np.empty(len(members))
    losses = []
    for seen, unseen in KFold(FOLDS, shuffle=True, random_state=0).split(features):
        forest = ExtraTreesRegressor(TREES, min_samples_leaf=2, random_state=0, n_jobs=1)
        forest.fit(features[seen], target[seen])
        predicted[unseen] = forest.predict(features[unseen])
        losses.append(_losses(forest, features[unseen], target[unseen]))
    share = np.array(losses) / target.var()
    means = share.mean(0)
    deviations = share.std(0, ddof=1)
    bars = []
    for number in np.argsort(-means, kind="stable"):
        bars.append((keys[number], float(means[number]), float(deviations[number])))
    return Importance(bars, float(r2_score(target, predicted)), len(members))


def _averaged(runs: Sequence[ComparedRun], figure: str) -> tuple[list[ComparedRun], np.ndarray]:
    """Return one run of each group that finished with the figure, and the group's mean of it."""
    members = []
    target = []
    for group in by_group(runs).values():
        finished = []
        for run in group:
            if run.state == "finished" and is_real(run.figures.get(figure)):
                finished.append(run)
        if finished:
            members.append(finished[0])
            target.append(np.mean([run.figures[figure] for run in finished]))
    return members, np.array(target, float)


def _numbers(values: Sequence[Any]) -> np.ndarray:
    """Return a parameter as numbers: itself, or the rank of its text where it is not a number."""
    if all(map(is_real, values)):
        return np.array(values, float)
    texts = [str(value) for value in values]
    ranks = {text: rank for rank, text in enumerate(sorted(set(texts)))}
    return np.array([ranks[text] for text in texts], float)


def _losses(forest: ExtraTreesRegressor, features: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return by how much the squared error grows if each parameter is shuffled."""
    shuffled = permutation_importance(
        forest,
        features,
        target,
        scoring="neg_mean_squared_error",
        n_repeats=REPEATS,
        random_state=0,
        n_jobs=1,
    )
    return np.asarray(shuffled.importances_mean)
