"""Records: what each finished trial of a table measured, one JSON line a trial.

A run keeps the records of its own trials in `records.jsonl` of its output. Publishing merges them
into `results/<table>.jsonl` (see `pipeline.sweep.publish`).
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import Field, ValidationError, field_validator

from pipeline.config.former_words import todays_override
from pipeline.config.section import Section
from pipeline.core import storage
from pipeline.core.errors import UserError, first_line
from pipeline.runs import files
from pipeline.runs.code_version import DIRTY
from pipeline.runs.metric_names import (
    ACCURACIES,
    COSTS,
    LINEAR_BEST,
    LOSS,
    PEOPLE_FIGURES,
    random_start,
)
from pipeline.sweep.trial import trial_name
from pipeline.tables.rows import in_order
from pipeline.tables.verdicts import Plan

# Between the versions in `Record.code`.
CODE_SEPARATOR = ", "
# The figures of a trial's summary that its record keeps.
RECORDED = frozenset(
    [
        *ACCURACIES,
        *map(random_start, ACCURACIES),
        *COSTS,
        LINEAR_BEST,
        LOSS,
        "test_copies",
        "probe",
        "protocol",
        "train_clips",
        "test_clips",
        "classes",
        "epochs",
        "clips_per_second",
        "feature_width",
        "collapsed",
    ]
)


class Record(Section):
    """What one trial measured, and everything that is needed to judge it.

    Attributes:
        experiment: the name of the table that it was measured for.
        variant: of the table.
        seed: of the trial.
        overrides: in which the variant differs from the experiment.
        command: the overrides that the whole table was asked for, without places.
        hash: of the trial's configuration (`pipeline.config.identity.digest`).
        figures: of the trial's summary, those of RECORDED.
        versions: of the libraries that decide what is computed.
        workers: how many trained.
        gpu: whether each had one.
        date: on which the trial was finished.
        seconds: that its stages took.
        code: the commit of the code that measured it, with `+dirty` where the code differed from
            it. Several versions where the stages of the trial were run by several.
        stores: the fingerprints of its clip store and of those that it pools.
        people: what was measured of each test person, after and before training: number, as text
            -> figure -> value, and the number of `clips`. Empty where nobody knows who is seen.
        plan: what the table was to tell when the trial began, None if nothing.
    """

    experiment: str
    variant: str
    seed: int
    overrides: list[str]
    command: list[str]
    hash: str
    figures: dict[str, Any]
    versions: dict[str, str]
    workers: int
    gpu: bool
    date: str
    seconds: int
    code: str
    stores: list[str]
    people: dict[str, dict[str, float]] = Field(default_factory=dict)
    plan: Plan | None = None

    @field_validator("command")
    @classmethod
    def _todays_words(cls, command: list[str]) -> list[str]:
        return [todays_override(override) for override in command]

    @property
    def name(self) -> str:
        """The name of the trial, which is also that of its directory."""
        return trial_name(self.variant, self.seed)

    @property
    def code_versions(self) -> list[str]:
        """The versions in `code`, one by one."""
        return self.code.split(CODE_SEPARATOR)

    @property
    def is_committed(self) -> bool:
        """Whether the commits in `code` hold the code that measured this."""
        return not any(version.endswith(DIRTY) for version in self.code_versions)


def read_records(uri: str) -> list[Record]:
    """Return the records of a file, none where there is no file.

    Raises:
        UserError: a line of it is no record.
    """
    if not storage.exists(uri):
        return []
    records = []
    lines = storage.read_bytes(uri).decode(errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            records.append(Record.model_validate_json(line))
        except ValidationError as error:
            raise UserError(
                f"{uri}, line {number}: not the record of a trial ({first_line(error)}); "
                "delete this line"
            ) from None
    return records


def read_people(uri: str) -> dict[str, dict[str, float]]:
    """Return what a run measured of each test person.

    Args:
        uri: of its `evaluation.json`.

    Returns:
        The number of a person, as text -> figure -> value, of the encoder after training, and with
        their own names of the one before. Nothing where nobody knows who is seen, or if an older
        version measured the run.
    """
    by_encoder = (storage.read_object(uri) or {}).get("people", {})
    before = by_encoder.get(files.RANDOM_ENCODER, {})
    people = {}
    for person, after in by_encoder.get(files.ENCODER, {}).items():
        people[person] = dict(after)
        for name, value in before.get(person, {}).items():
            if name in PEOPLE_FIGURES:
                people[person][random_start(name)] = value
    return people


def write_records(uri: str, records: Iterable[Record], variants: Sequence[str]) -> None:
    """Write a file of records, whole or not at all.

    Args:
        uri: of the file.
        records: in any order.
        variants: the order of the table. The file has the records in this order, variants that
            are not in it last, and those of a variant by seed.
    """
    lines = []
    for record in in_order(records, variants):
        # What older records lack is left out of new ones, too, where it says nothing.
        values = record.model_dump(exclude_defaults=True)
        lines.append(json.dumps(values, allow_nan=False) + "\n")
    storage.write_bytes(uri, "".join(lines).encode())
