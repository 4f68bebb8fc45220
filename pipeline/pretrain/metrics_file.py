"""The file of metrics: one row of JSON for every logged step, kept up to date at little cost.

On a local disk new rows are appended. Where rows changed or were taken back, which is rare, the
file is written again as a whole: a kill in the middle then leaves the old file or the new one.
Object storage takes whole objects only: there the file is written again once it has grown by half.
Sizes then grow like 1, 1.5, 2.25, ..., and all uploads together are at most three times the final
file.
"""

import json

from pipeline.core import storage
from pipeline.core.errors import UserError, first_line
from pipeline.runs.metric_rows import Row

# An upload comes when this share of what was uploaded before is new.
UPLOAD_SHARE = 0.5


class MetricsFile:
    """The rows of a file, in memory as lines, and how much of them is written.

    Args:
        uri: where the file is.
        most_unwritten: rows that may wait for an upload. Together with the rows that a checkpoint
            carries this decides how many rows a killed driver loses.
    """

    def __init__(self, uri: str, most_unwritten: int):
        self.uri = uri
        self.most_unwritten = most_unwritten
        self._lines: list[bytes] = []
        # The first so many lines are in the file as they are here.
        self._written = 0
        # The file has lines after those that are no longer valid.
        self._has_stale_lines = False
        # The size of a local file without stale lines.
        self._written_bytes = 0
        # Of object storage: the size of the newest upload, and what changed since.
        self._uploaded_bytes = 0
        self._changed_bytes = 0

    def __len__(self) -> int:
        return len(self._lines)

    def append(self, row: Row) -> None:
        """Add a row at the end."""
        line = _line(row)
        self._lines.append(line)
        self._changed_bytes += len(line)

    def replace(self, number: int, row: Row) -> None:
        """Put another row in the place of row `number`."""
        self._take_back_from(number)
        self._lines[number] = _line(row)
        self._changed_bytes += len(self._lines[number])

    def cut(self, rows: int) -> None:
        """Keep the first `rows` rows only."""
        self._take_back_from(rows)
        del self._lines[rows:]

    def _take_back_from(self, number: int) -> None:
        """Count the lines from `number` on as not written."""
        if number < self._written:
            self._written = number
            self._has_stale_lines = True

    def flush(self) -> None:
        """Bring a local file up to date, and a remote one if enough has changed.

        Raises:
            UserError: it cannot be written.
        """
        if not storage.is_remote(self.uri):
            self._update_local_file()
            return
        grown = self._changed_bytes > UPLOAD_SHARE * self._uploaded_bytes
        if grown or len(self._lines) - self._written > self.most_unwritten:
            self.write_whole()

    def finish(self) -> None:
        """Bring the file up to date, wherever it is; raises as `flush`."""
        if not storage.is_remote(self.uri):
            self._update_local_file()
        elif self._has_stale_lines or self._written < len(self._lines):
            self.write_whole()

    def write_whole(self) -> None:
        """Write all rows at once: either all of them are in the file afterwards, or none is new.

        Raises:
            UserError: it cannot be written.
        """
        data = b"".join(self._lines)
        storage.write_bytes(self.uri, data)
        self._written = len(self._lines)
        self._has_stale_lines = False
        self._written_bytes = len(data)
        self._uploaded_bytes = len(data)
        self._changed_bytes = 0

    def _update_local_file(self) -> None:
        """Append what is new; write the whole file where lines of it are no longer valid."""
        if self._has_stale_lines:
            self.write_whole()
        elif self._written < len(self._lines):
            self._append_new_lines()

    def _append_new_lines(self) -> None:
        """Write the lines that the local file does not hold, after those that it holds."""
        data = b"".join(self._lines[self._written :])
        _, path = storage.resolve(self.uri)
        try:
            with open(path, "r+b") as file:
                # After a write that failed, a part of these lines may be there already.
                file.seek(self._written_bytes)
                file.write(data)
                file.truncate()
        except FileNotFoundError:
            # Somebody removed it.
            self.write_whole()
            return
        except OSError as error:
            raise UserError(f"{self.uri}: cannot be written ({first_line(error)})") from error
        self._written = len(self._lines)
        self._written_bytes += len(data)


def _line(row: Row) -> bytes:
    return (json.dumps(row) + "\n").encode()
