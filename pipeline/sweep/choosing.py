"""The choosing protocol: on whom the trials of a search train, and on whom they are measured.

Whoever looks at the test side to choose has no test side any more. So the criterion is measured on
people of the training side, whom no trial trains on:

    data.protocol        training side                test side
    choosing protocol    train        test            (nobody looks)

They are named by a protocol of the data (`sweep.criterion.protocol`), or drawn here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.config.command_line import as_value
from pipeline.config.sweep import Criterion
from pipeline.core.console import say
from pipeline.core.errors import ConfigError
from pipeline.pretrain.watched_clips import drawn_order, how_many
from pipeline.runs.metric_names import CRITERIA
from pipeline.runs.resolved import ResolvedRun
from pipeline.store.protocols import Filter, Side, mask, sides_of

# The name of the protocol that is made here.
HELD_OUT = "held_out"
SUBJECT = "subject"
WITHOUT_LABELS = "choose a metric that needs no labels (docs/metrics.md)"


def choosing_overrides(run: ResolvedRun, criterion: Criterion) -> list[str]:
    """Return what makes every trial of a search train and be measured on the choosing protocol.

    A criterion that needs no labels needs no held-out people: trials train on the whole training
    side of `data.protocol`. The store must be there. The console says who is held out.

    Args:
        run: the run of the sweep. Its seed decides who is held out, whatever the seeds of trials.
        criterion: of the search.

    Returns:
        Overrides in Hydra's grammar, for `compose_trial`.

    Raises:
        ConfigError: the criterion cannot be measured on these clips.
        UserError: the store cannot be read.
    """
    if not CRITERIA[criterion.metric].needs_labels:
        _refuse_protocol(criterion)
        return []
    training = mask(run.index.columns, run.sides["train"])
    _require_labels(run, criterion, training)
    if criterion.protocol is not None:
        _require_inside(run, criterion.protocol, training)
        say(f"  {criterion.metric} of held-out people: protocol {criterion.protocol}")
        return [f"data.protocol={criterion.protocol}"]
    people = _people(run, training)
    chosen = _held_out(run, criterion, training, people)
    clips = training & np.isin(run.index.subject, chosen)
    numbers = ", ".join(map(str, chosen))
    say(
        f"  {criterion.metric} of {len(chosen)} of {len(people)} people, who are held out: "
        f"{numbers} ({clips.sum():,} of {training.sum():,} training clips)"
    )
    return [
        f"+data.protocols.{HELD_OUT}={_protocol(run.sides['train'], people, chosen)}",
        f"data.protocol={HELD_OUT}",
    ]


def _refuse_protocol(criterion: Criterion) -> None:
    """Raise ConfigError for held-out people that nobody would look at."""
    if criterion.protocol is not None:
        raise ConfigError(
            f"sweep.criterion.protocol={criterion.protocol}: {criterion.metric} needs no labels "
            "and holds nobody out; set it to null"
        )


def _require_labels(run: ResolvedRun, criterion: Criterion, training: np.ndarray) -> None:
    """Raise ConfigError if no clip of the training side has a label."""
    if not (run.index.label[training] >= 0).any():
        raise ConfigError(
            f"sweep.criterion.metric={criterion.metric}: no clip on the training side of "
            f"{run.config.data.protocol} has a label; {WITHOUT_LABELS}"
        )


def _require_inside(run: ResolvedRun, name: str, training: np.ndarray) -> None:
    """Raise ConfigError unless a protocol can be used to choose.

    Args:
        run: of the sweep.
        name: of the protocol.
        training: bool [N], the clips on the training side of `data.protocol`.
    """
    key = f"sweep.criterion.protocol={name}"
    protocols = run.config.data.protocols
    if name not in protocols:
        raise ConfigError(f"{key}: is not one of {', '.join(protocols)}")
    labels = run.index.label
    labels_of = {}
    seen = np.zeros(len(labels), bool)
    for side, filters in sides_of(protocols, name).items():
        clips = mask(run.index.columns, filters)
        shared = int((clips & seen).sum())
        if shared:
            raise ConfigError(f"{key}: {shared} clips are on both its sides; choose another")
        seen |= clips
        outside = int((clips & ~training).sum())
        if outside:
            raise ConfigError(
                f"{key}: {outside} clips of its side {side} are not on the training side of "
                f"{run.config.data.protocol}; choose a protocol inside of it, or null, which holds "
                "people of the training side out"
            )
        labels_of[side] = labels[clips & (labels >= 0)]
    if not np.isin(labels_of["test"], labels_of["train"]).any():
        raise ConfigError(
            f"{key}: its sides have no labelled action in common; choose another protocol, or null"
        )


def _people(run: ResolvedRun, training: np.ndarray) -> np.ndarray:
    """Return the numbers of the people on the training side, ascending.

    Raises:
        ConfigError: they are unknown, or fewer than two.
    """
    subjects = run.index.subject[training]
    known = np.unique(subjects[subjects >= 0])
    where = f"the training side of {run.config.data.protocol}"
    if not len(known):
        raise ConfigError(
            f"sweep.criterion: nobody knows who the people on {where} are, so none can be held "
            f"out; name a protocol of the data in sweep.criterion.protocol, or {WITHOUT_LABELS}"
        )
    if len(known) < 2:
        raise ConfigError(
            f"sweep.criterion: {where} shows one person alone, so nobody can be held out; "
            f"name a protocol of the data in sweep.criterion.protocol, or {WITHOUT_LABELS}"
        )
    if HELD_OUT in run.config.data.protocols:
        raise ConfigError(
            f"data.protocols.{HELD_OUT}: a search gives this name to the people whom it holds out; "
            f"rename the protocol, or use it by sweep.criterion.protocol={HELD_OUT}"
        )
    return known


def _held_out(
    run: ResolvedRun, criterion: Criterion, training: np.ndarray, people: np.ndarray
) -> list[int]:
    """Draw who is held out: `criterion.held_out` of the people, in an order of their hashes.

    A person stays if nobody else, among those who stay, performs one of the person's actions: a
    classifier could not know it.

    Raises:
        ConfigError: everybody must stay.
    """
    actions_of = {}
    performers: dict[int, int] = {}
    for person in people.tolist():
        labels = run.index.label[training & (run.index.subject == person)]
        actions_of[person] = np.unique(labels[labels >= 0]).tolist()
        for action in actions_of[person]:
            performers[action] = performers.get(action, 0) + 1

    chosen: list[int] = []
    wanted = how_many(len(people), criterion.held_out)
    for person in drawn_order(people, run.config.seed):
        actions = actions_of[person]
        can_go = bool(actions) and all(performers[action] > 1 for action in actions)
        if len(chosen) < wanted and can_go:
            chosen.append(person)
            for action in actions:
                performers[action] -= 1
    if not chosen:
        raise ConfigError(
            f"sweep.criterion: everybody on the training side of {run.config.data.protocol} "
            "performs an action that nobody else performs, so nobody can be held out; "
            f"name a protocol of the data in sweep.criterion.protocol, or {WITHOUT_LABELS}"
        )
    return sorted(chosen)


def _protocol(side: Side, people: np.ndarray, chosen: Sequence[int]) -> str:
    """Return the choosing protocol as a value in Hydra's grammar.

    Each filter of the training side is kept, and gets a list of people. Clips of unknown people
    are on neither side: they may show a person who is held out.

    Example: the filter `{camera: [2, 3]}`, of three people of whom 7 is held out, becomes

        {train: [{camera: [2, 3], subject: [4, 5]}], test: [{camera: [2, 3], subject: [7]}]}
    """
    rest = [person for person in people.tolist() if person not in chosen]
    sides = {
        "train": _with_people(side.filters, rest),
        "test": _with_people(side.filters, chosen),
    }
    return as_value(sides)


def _with_people(filters: Sequence[Filter], people: Sequence[int]) -> list[dict[str, list[Any]]]:
    """Return filters for the clips of some people. A filter that lets none of them pass is gone."""
    kept = []
    for one_filter in filters:
        columns: dict[str, list[Any]] = {}
        for name, values in dict(one_filter).items():
            columns[name] = list(values)
        allowed = list(people)
        if SUBJECT in columns:
            allowed = [person for person in people if person in columns[SUBJECT]]
        if allowed:
            columns[SUBJECT] = allowed
            kept.append(columns)
    return kept
