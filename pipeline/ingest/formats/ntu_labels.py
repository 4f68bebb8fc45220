"""Files that hold names of NTU RGB+D and labels of their own: when do the two agree?

The name `S001C002P003R001A024` says that action 24 is done, which is class 23. A file of a few
actions may number its classes anew, and then its labels are what counts.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pipeline.ingest.formats import ntu
from pipeline.ingest.source import RejectedRecording
from pipeline.ingest.tracks import LARGEST

# Of actions that a note names.
SHOWN = 3


def parse_clip_name(name: str) -> dict[str, int]:
    """Return what a name of NTU RGB+D says (see `ntu.parse_name`), nothing where it is none."""
    try:
        return ntu.parse_name(name.removesuffix(ntu.SUFFIX) + ntu.SUFFIX)
    except RejectedRecording:
        return {}


def whole_number(value: Any) -> int | None:
    """Return a whole number, which tables make a float of where a row lacks one."""
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is int:
        return value
    return None


def class_number(value: Any) -> int | None:
    """Return a label, None where it is not a whole number from 0."""
    label = whole_number(value)
    if label is None or not 0 <= label <= LARGEST:
        return None
    return label


@dataclass(frozen=True)
class Numbering:
    """The labels that a file gives to the actions in its names.

    Attributes:
        labels: class by the name, from 0 -> the classes of its clips by the file.
    """

    labels: dict[int, frozenset[int]]

    @classmethod
    def of(cls, clips: Iterable[tuple[str, int]]) -> "Numbering":
        """Collect the labels.

        Args:
            clips: name and label of every clip.
        """
        labels: dict[int, set[int]] = defaultdict(set)
        for name, label in clips:
            who = parse_clip_name(name)
            if who:
                labels[who["label"]].add(label)
        return cls({action: frozenset(found) for action, found in labels.items()})

    def identity(self, name: str, label: int | None) -> dict[str, Any]:
        """Return what a clip's name and label say, as arguments of `RawRecording`.

        Where all clips of an action have one label, the file numbers its classes as it likes. Where
        they have several, those that differ from the name are damaged.

        Args:
            name: of the clip.
            label: what the file says; None where that is no label.

        Raises:
            RejectedRecording: there is no label, or it is one of several labels of its action, and
                not that of the name.
        """
        if label is None:
            raise RejectedRecording("label is not a whole number from 0")
        identity: dict[str, Any] = {"clip_id": name, "performance": name, "label": label}
        who = parse_clip_name(name)
        if not who:
            return identity
        action = who["label"]
        if label != action and len(self.labels[action]) > 1:
            raise RejectedRecording(f"label is {label}, its name says {action}")
        # As NTU RGB+D's own files say it, so that stores of both know the same performances.
        return who | identity | {"performance": ntu.performance_of(who)}

    def notes(self) -> tuple[str, ...]:
        """Say where the file numbers classes anew."""
        renumbered = []
        for action, found in sorted(self.labels.items()):
            if len(found) == 1 and action not in found:
                renumbered.append(f"A{action + 1:03} is class {min(found)}")
        if not renumbered:
            return ()
        shown = ", ".join(renumbered[:SHOWN])
        if len(renumbered) > SHOWN:
            shown += ", ..."
        return (
            f"classes are numbered by the file, not by the names of its clips: {shown}; "
            "data.classes must name them in that order, or be null",
        )
