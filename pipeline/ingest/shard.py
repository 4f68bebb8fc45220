r"""From the bytes of some recordings to one shard of a clip store. Knows nothing of Ray.

For each member of the shard:

    bytes -> reader -> recordings -> canonical coordinates -> preparation -> row
                 \-> rejected, with a reason    \-> flaws, with the row all the same

Nothing here depends on other shards, so shards can be written at the same time and in any order.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pipeline import __version__
from pipeline.config.coordinates import Coordinates
from pipeline.core import storage
from pipeline.ingest.prepare import PRESETS, prepare
from pipeline.ingest.prepare.coordinates import canonical, require_near
from pipeline.ingest.recording import Parse, RawRecording, RecordingReader, Rejected, performance_id
from pipeline.ingest.resume import Flaw, ShardReport, shard_name, write_report
from pipeline.ingest.settings import IngestRequest
from pipeline.ingest.source import Member, RejectedRecording
from pipeline.store.bodies import Landmarks, measure_bodies
from pipeline.store.shards import INTEGERS, write_shard

Row = dict[str, Any]

# Of so many clips of every shard ingest measures how the bodies stand. The first rows are a random
# choice, because rows are in a random order.
MEASURED = 64


@dataclass(frozen=True)
class IngestJob:
    """What all shards of an ingest share. It is pickled and sent to every task.

    Attributes:
        sources: directories and zip files with the recordings, absolute.
        store: directory of the store, absolute.
        reader: what reads the recordings.
        dataset: a name that goes with every clip.
        landmarks: joints of the skeleton layout by which bodies are measured.
        coordinates: the axes and the unit of the recordings.
        persons: M, the persons of a clip.
        preparation: a name of `PRESETS`.
        classes: number of labels that there are. None: any label.
        left_out: ids of clips that are not to be in the store.
        seed: decides the order of the rows.
        metadata: what every shard says of itself, and the manifest too.
    """

    sources: tuple[str, ...]
    store: str
    reader: RecordingReader
    dataset: str
    landmarks: Landmarks
    coordinates: Coordinates
    persons: int
    preparation: str
    classes: int | None
    left_out: frozenset[str] = field(repr=False)
    seed: int
    metadata: dict[str, Any] = field(repr=False)

    @classmethod
    def of(
        cls, request: IngestRequest, sources: tuple[str, ...], settings: dict[str, Any]
    ) -> "IngestJob":
        """Keep of a request what its tasks need.

        Args:
            request: what is asked for.
            sources: where the recordings lie, absolute.
            settings: see `pipeline.ingest.settings.settings_of`.
        """
        metadata = {key: settings[key] for key in ("dataset", "layout", "persons", "preparation")}
        metadata["coordinates"] = settings["coordinates"]
        metadata["fps"] = request.reader.fps
        metadata["axes"] = request.reader.axes
        metadata["space"] = request.reader.space
        metadata["source"] = ", ".join(storage.name(uri) for uri in sources)
        metadata["tool"] = f"skelfuse {__version__}"
        return cls(
            sources=sources,
            store=storage.absolute(request.store),
            reader=request.reader,
            dataset=request.dataset,
            landmarks=Landmarks.of(request.layout),
            coordinates=request.coordinates,
            persons=request.persons,
            preparation=request.preparation,
            classes=request.classes,
            left_out=request.left_out,
            seed=request.seed,
            metadata=metadata,
        )


def seeded_order(seed: int, name: str) -> bytes:
    """Return a sort key that puts names into a random order.

    It is a hash, so the order is the same everywhere.
    """
    data = f"{seed}/{name}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=16).digest()


def ingest_shard(job: IngestJob, number: int, members: Sequence[Member]) -> ShardReport:
    """Read, parse and prepare some recordings, and write them as one shard and its report.

    Args:
        job: what all shards share.
        number: the number of this shard.
        members: its recordings.

    Returns:
        The report.

    Raises:
        UserError: a source cannot be opened, or the shard cannot be written.
    """
    report = ShardReport(number, recordings=len(members))
    rows: list[Row] = []
    with job.reader.opened(job.sources, job.landmarks.joints) as parse:
        for member in members:
            rows += _usable_rows(job, parse, member, report)
    rows.sort(key=lambda row: seeded_order(job.seed, row["clip_id"]))
    report.bodies = _measured(rows[:MEASURED], job.landmarks)
    if rows:
        uri = storage.join(job.store, shard_name(number))
        report.shard = write_shard(uri, rows, job.metadata)
    # Last: a report says that its shard is whole.
    write_report(job.store, report)
    return report


def _measured(rows: Sequence[Row], landmarks: Landmarks) -> list[list[float | None]]:
    """Return a row for each clip that JSON can hold, see `ShardReport.bodies`."""
    found = measure_bodies([row["joints"] for row in rows], landmarks)
    table = np.column_stack([found["standing"], found["size"], found["thinnest"]])
    measured: list[list[float | None]] = []
    for values in table.tolist():
        measured.append([None if np.isnan(value) else round(value, 5) for value in values])
    return measured


def _usable_rows(job: IngestJob, parse: Parse, member: Member, report: ShardReport) -> list[Row]:
    """Return the rows of a member, and add to the report what is wrong with it."""
    try:
        recordings = parse(member)
    except RejectedRecording as reason:
        report.rejects.append(Rejected(member.path, str(reason)))
        return []
    rows = []
    for recording in recordings:
        if isinstance(recording, Rejected):
            report.rejects.append(recording)
            continue
        if recording.clip_id in job.left_out:
            report.left_out += 1
            continue
        try:
            rows.append(_row(job, recording))
        except RejectedRecording as reason:
            # The only recording of a file is the file: then it is the file that cannot be used.
            name = recording.clip_id
            if len(recordings) == 1:
                name = member.path
            report.rejects.append(Rejected(name, str(reason)))
            continue
        for flaw in _flaws(recording, job.persons):
            report.flaws.append(Flaw(recording.clip_id, flaw))
    return rows


def _row(job: IngestJob, recording: RawRecording) -> Row:
    """Return the row of a recording, see `pipeline.store.shards.FIELDS`.

    Raises:
        RejectedRecording: a label is no class, or the preparation leaves nobody.
    """
    _check_labels(recording, job.classes)
    # Body selection and denoising look at height and width, so the axes come first.
    bodies = canonical(recording.bodies, job.coordinates)
    require_near(bodies)
    recording = replace(recording, bodies=bodies)
    joints, present = prepare(recording, PRESETS[job.preparation], job.persons)
    segments = None
    if recording.segments is not None:
        segments = [
            {"label": label, "start": start, "end": end} for label, start, end in recording.segments
        ]
    return {
        "clip_id": recording.clip_id,
        "dataset": job.dataset,
        "performance_id": performance_id(job.dataset, recording.performance),
        **{name: getattr(recording, name) for name in INTEGERS},
        "split": list(recording.split),
        "segments": segments,
        "num_frames": len(joints),
        "num_persons": present,
        "joints": joints,
    }


def _check_labels(recording: RawRecording, classes: int | None) -> None:
    """Raise RejectedRecording where a label of a recording or its segments is no class."""
    if classes is None:
        return
    labels = [recording.label]
    for segment_label, _, _ in recording.segments or ():
        labels.append(segment_label)
    for label in labels:
        if label is not None and label >= classes:
            raise RejectedRecording(
                f"label {label} is not one of the {classes} classes (0 to {classes - 1})"
            )


def _flaws(recording: RawRecording, persons: int) -> list[str]:
    """Return what is wrong with a recording that is used all the same."""
    flaws = list(recording.flaws)
    bodies = np.diff(recording.offsets)  # int64 [T]: bodies in each frame
    empty = int((bodies == 0).sum())
    if empty:
        flaws.append(f"{empty} of {recording.frames} frames hold nobody")
    if bodies.max() > persons:
        flaws.append(f"up to {bodies.max()} bodies in a frame, of which {persons} can be kept")
    return flaws
