"""What is measured of a table while it is being run: by the run itself, and by others."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.core import storage
from pipeline.core.console import say
from pipeline.runs import files
from pipeline.sweep.records import Record, read_records, write_records
from pipeline.sweep.variants import Variant
from pipeline.tables.noise import Noise, read_noise
from pipeline.tables.rows import Table
from pipeline.tables.verdicts import Plan


@dataclass
class Measured:
    """The records of a table. Published ones are only read.

    Attributes:
        name: of the table.
        output: the output directory of the run. RECORDS in it holds the run's own records that
            belong in the table, and is what publishing reads. OTHER_RECORDS holds its others:
            stale ones, and those of variants that the table no longer has. They stay until their
            trials are measured again, because the settings may be set back.
        published_uris: see `Sweep.published`.
        variants: what current records are of, in the order of the table.
        plan: what the table is to tell, None if nothing.
        own: the run's own records by the names of their trials.
        published: the records of the published files by file.
        noise: how far equal runs end apart, None if that was not measured.
    """

    name: str
    output: str
    published_uris: Sequence[str]
    variants: Mapping[str, Variant]
    plan: Plan | None = None
    own: dict[str, Record] = field(default_factory=dict)
    published: dict[str, list[Record]] = field(default_factory=dict)
    noise: Noise | None = None

    def read(self) -> None:
        """Read the records that there are.

        Raises:
            UserError: a file holds something else.
        """
        # A trial that is in both files was measured again, so RECORDS comes last.
        for name in (files.OTHER_RECORDS, files.RECORDS):
            for record in read_records(storage.join(self.output, name)):
                self.own[record.name] = record
        self.read_published()
        if self.plan is not None and self.published_uris:
            self.noise = read_noise(storage.parent(self.published_uris[0]))

    def read_published(self) -> None:
        """Read the published records; others who are at work on the table may have added some."""
        for uri in self.published_uris:
            self.published[uri] = read_records(uri)

    def current(self) -> dict[str, Record]:
        """Return the records that belong in the table, by trial: of its variants, none stale.

        They may be of more seeds than were asked for. Where a trial has several, the run's own
        comes first.
        """
        current: dict[str, Record] = {}
        for record in self._of_the_table():
            if record.name not in current and self._belongs(record):
                current[record.name] = record
        return current

    def missing(self, wanted: Sequence[str]) -> list[str]:
        """Return the trials without a current record, and say which of them have a stale one."""
        current = self.current()
        # Of a trial that has no current record, all records are stale: the last one says why.
        stale: dict[str, str | None] = {}
        for record in self._of_the_table():
            stale[record.name] = self.why_stale(record)
        missing = []
        for name in wanted:
            if name in current:
                continue
            if name in stale:
                say(f"  {name}: stale, {stale[name]}; run again")
            missing.append(name)
        return missing

    def table(self) -> Table:
        """Return the table as it stands."""
        records = self.current().values()
        return Table.of(self.name, records, list(self.variants), self.plan, self.noise)

    def add(self, record: Record) -> None:
        """Add the record of a trial that was run, and write the run's own records."""
        self.own[record.name] = record
        self._write()

    def complete(self) -> None:
        """Take over what completes the table, and write the run's own records.

        Records that another table has published are part of this one from now on. So a published
        table holds all that it shows:

            pooled_nw_ucla.jsonl      (nothing yet)
            ablation_nw_ucla.jsonl    full-0, umurl-0
            records.jsonl             pooled-0, which was measured, and full-0, taken over
        """
        # The table's own file is the first. What it holds need not be published once more.
        this_table: list[Record] = []
        if self.published_uris:
            this_table = self.published[self.published_uris[0]]
        for name, record in self.current().items():
            if name in self.own or record not in this_table:
                self.own[name] = record
        self._write()

    def _write(self) -> None:
        """Write both files of the run's own records (see `output`)."""
        belonging = []
        others = []
        for record in self.own.values():
            if self._belongs(record):
                belonging.append(record)
            else:
                others.append(record)
        order = list(self.variants)
        other_uri = storage.join(self.output, files.OTHER_RECORDS)
        # First: a record that leaves the table must be here before it is no longer there.
        if others or storage.exists(other_uri):
            write_records(other_uri, others, order)
        write_records(storage.join(self.output, files.RECORDS), belonging, order)

    def _of_the_table(self) -> Iterator[Record]:
        """Iterate over all records of the table's variants, the run's own first."""
        for records in (self.own.values(), *self.published.values()):
            for record in records:
                if record.variant in self.variants:
                    yield record

    def _belongs(self, record: Record) -> bool:
        """True if a record is of a variant of the table, and not stale."""
        return record.variant in self.variants and self.why_stale(record) is None

    def why_stale(self, record: Record) -> str | None:
        """Return why a record of one of the variants does not belong in the table, if it does not.

        A version that did not know a figure of the plan did not measure it of people, either.
        """
        if self.plan is not None and record.variant in (self.plan.variant, *self.plan.against):
            for metric in self.plan.metrics:
                if metric not in record.figures:
                    return f"without {metric}"
        return self.variants[record.variant].why_stale(record)
