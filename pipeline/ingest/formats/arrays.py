"""A folder of plain arrays and a table of them: the way in for recordings of one's own.

The table is CSV (UTF-8, commas, a header) or Parquet, one row a clip, and says

    clip_id, path                 the clip's name, and its array as a path relative to the table
    label                         a number from 0, or the name of a class; another column may hold
                                  the labels (`label_column`)
    subject, camera, setup,
    replication                   numbers
    performance                   what recordings of it by other cameras share; without one, the
                                  clip_id
    split                         names of splits that hold the clip, separated by blanks

All but the first two may be absent, or empty where unknown. Other columns are for choosing rows
(`select`). No value goes over several lines, none has more than 4 KiB. A Parquet table stands for
at most 256 MiB and has no lists.

An array is a `.npy` file of [T, V, 3] or [M, T, V, 3], at most 8 persons and no more than frames. A
frame of zeros holds nobody. `data.coordinates` says which axis is which, and the unit.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, ClassVar

import numpy as np

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.ingest import source
from pipeline.ingest.decode import npy
from pipeline.ingest.formats.clip_table import LABEL, ClipTable, TableRow
from pipeline.ingest.recording import KINECT_AXES, Parse, RawRecording, RecordingReader
from pipeline.ingest.source import Listing, Member, Read, RejectedRecording
from pipeline.ingest.tracks import LARGEST, bodies_of

# No sensor gives more. With a longer axis in front an array is one of [T, M, V, 3].
MAX_PERSONS = 8
# What a table may say for "unknown".
MISSING = frozenset({"", "nan", "NaN", "NA", "N/A", "null", "NULL", "None"})
WHOLE = re.compile(r"(\d{1,10})(\.0*)?", re.ASCII)
# The size of a member whose array is not there.
NO_FILE = -1


@dataclass(frozen=True)
class Arrays(RecordingReader):
    """Arrays and a table.

    Attributes:
        table: the table's file name, or its path in the source. Every source has one.
        select: column and value of the rows that are meant; no column, all rows.
        label_column: the column that holds the labels.
        classes: names that labels may be.
    """

    name: ClassVar[str] = "arrays"
    table: str
    select: dict[str, str | int]
    fps: float
    # A constant: `data.coordinates` declares what the recordings have.
    axes: str = KINECT_AXES
    label_column: str = LABEL
    classes: list[str] | None = None

    def record(self) -> dict[str, Any]:
        """See `RecordingReader.record`. The usual column of labels is left out.

        So a store is the same as one from before there was a choice.
        """
        options = super().record()
        if self.label_column == LABEL:
            del options["label_column"]
        return options

    def listing(self, sources: Sequence[str]) -> Listing:
        """Return a member a row: the clip's name, and its array's path in the source.

        Raises:
            UserError: a source has no table, a table is none, or no table has a row.
        """
        members = []
        tables = []
        ignored = 0
        for number, uri in enumerate(sources):
            found = source.listing([uri], lambda path: True, "file")
            sizes = {member.path: member.size for member in found.members}
            path = self._find_table(uri, list(sizes))
            tables.append(Member(PurePosixPath(path).name, path, sizes[path], number))
            named = set()
            for name, place in self._read_table(uri, path).members():
                file = _normal(place)
                named.add(file)
                members.append(Member(name, place, sizes.get(file, NO_FILE), number))
            # All files but the table and the arrays that it names.
            ignored += found.ignored + len(sizes.keys() - named) - 1
        if not members:
            raise UserError(
                f"{', '.join(sources)}: holds no recordings (its table {self.table} has no rows)"
            )
        return Listing(sorted(members), ignored, tuple(tables))

    @contextmanager
    def opened(self, sources: Sequence[str], joints: int) -> Iterator[Parse]:
        """See `RecordingReader.opened`.

        Raises:
            UserError: a source has no table, or a table is none.
        """
        tables = [self._read_table(uri, self._locate_table(uri)) for uri in sources]
        with source.opened(sources) as read:

            def parse(member: Member) -> list[RawRecording]:
                row = tables[member.source].row(member)
                return [self._recording(row, member, read, joints)]

            yield parse

    def _recording(self, row: TableRow, member: Member, read: Read, joints: int) -> RawRecording:
        """Return what a row of the table and its array say. Raises RejectedRecording."""
        subject = _number(row["subject"], "subject")
        camera = _number(row["camera"], "camera")
        setup = _number(row["setup"], "setup")
        replication = _number(row["replication"], "replication")
        label = self._label(row[LABEL])
        if not _is_inside(row["path"] or ""):
            raise RejectedRecording("path leaves the folder of the table")
        if member.size == NO_FILE:
            raise RejectedRecording("no such file")
        file = Member(member.name, _normal(member.path), member.size, member.source)
        array = npy.parse(read(file))
        splits = (_known(row["split"]) or "").split()
        clip_id = row["clip_id"] or ""
        return RawRecording(
            clip_id=clip_id,
            performance=_known(row["performance"]) or clip_id,
            label=label,
            subject=subject,
            camera=camera,
            setup=setup,
            replication=replication,
            split=tuple(dict.fromkeys(splits)),
            **bodies_of(_persons(array, joints)),
        )

    def _locate_table(self, uri: str) -> str:
        """Return the table's path in a source. All files are listed only where that is needed."""
        if storage.is_directory(uri) and storage.exists(storage.join(uri, self.table)):
            return self.table
        found = source.listing([uri], lambda path: True, "file")
        return self._find_table(uri, [member.path for member in found.members])

    def _find_table(self, uri: str, paths: Sequence[str]) -> str:
        """Return the table's path among all paths of a source.

        Raises:
            UserError: there is none, or there are several.
        """
        if self.table in paths:
            return self.table
        wanted = PurePosixPath(self.table).parts
        found = []
        for path in paths:
            if PurePosixPath(path).parts[-len(wanted) :] == wanted:
                found.append(path)
        if not found:
            raise UserError(f"{uri}: holds no table {self.table} (data.reader.table)")
        if len(found) > 1:
            raise UserError(
                f"{uri}: holds {len(found)} tables {self.table} ({', '.join(sorted(found)[:3])}): "
                "name the one that is meant with its folders (data.reader.table)"
            )
        return found[0]

    def _read_table(self, uri: str, path: str) -> ClipTable:
        what = f"{storage.name(uri)}: {path}"
        with source.opened([uri]) as read:
            try:
                data = read(Member(PurePosixPath(path).name, path, 0))
            except RejectedRecording as reason:
                raise UserError(f"{what}: {reason}") from None
        return ClipTable.of(what, path, data, self.select, self.label_column)

    def _label(self, text: str | None) -> int | None:
        """Return the number of the class that a cell names or numbers, None where it is unknown.

        Raises:
            RejectedRecording: it is neither, or the name of one class and the number of another.
        """
        named = None
        if self.classes and text in self.classes:
            named = self.classes.index(text)
        is_number = text is not None and WHOLE.fullmatch(text) is not None
        if named is None:
            if _known(text) is not None and not is_number:
                known = "a class: data.classes is null"
                if self.classes:
                    known = f"one of the {len(self.classes)} classes"
                raise RejectedRecording(
                    f"label {_shown(text)} is neither a number from 0 nor {known}"
                )
            return _number(text, self.label_column)
        if is_number and _number(text, self.label_column) != named:
            raise RejectedRecording(
                f"label {_shown(text)} is the name of class {named} and the number of another"
            )
        return named


def _shown(text: str | None) -> str:
    return repr((text or "")[:40])


def _known(text: str | None) -> str | None:
    if text in MISSING:
        return None
    return text


def _number(text: str | None, column: str) -> int | None:
    """Return the number that a cell says, None where it is unknown.

    Raises:
        RejectedRecording: it is anything but 0, 1, ...
    """
    if text is None or _known(text) is None:
        return None
    match = WHOLE.fullmatch(text)
    if match is None or int(match[1]) > LARGEST:
        raise RejectedRecording(f"{column} {_shown(text)} is not a whole number from 0")
    return int(match[1])


def _is_inside(path: str) -> bool:
    """Tell whether a path stays in the folder that it is relative to."""
    pure = PurePosixPath(path)
    return not pure.is_absolute() and ".." not in pure.parts


def _normal(path: str) -> str:
    """Return a path without `.` and doubled slashes, as sources list it."""
    return str(PurePosixPath(path))


def _persons(array: np.ndarray, joints: int) -> np.ndarray:
    """Return [T, V, 3] or [M, T, V, 3] as [M, T, V, 3].

    Raises:
        RejectedRecording: it has any other shape.
    """
    expected = f"expected [frames, {joints}, 3] or [persons, frames, {joints}, 3]"
    shape = str(list(array.shape))[:60]
    if array.ndim not in (3, 4) or array.shape[-2:] != (joints, 3):
        raise RejectedRecording(f"shape {shape}, {expected}")
    persons = array
    if array.ndim == 3:
        persons = array[None]
    frames = persons.shape[1]
    if len(persons) > min(MAX_PERSONS, frames) and frames:
        raise RejectedRecording(f"shape {shape} would be {len(persons)} persons, {expected}")
    return persons
