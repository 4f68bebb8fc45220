"""The stages of a run by name. Each takes (config, run, tracker) and returns flat results for `summary.json`."""

from typing import Any

from pipeline.ablate.stage import ablate
from pipeline.card.stage import inspect
from pipeline.config.schema import Config
from pipeline.core import storage
from pipeline.core.console import Bar, say, table
from pipeline.encoder.build import open_store, reader_of, recorded_layout
from pipeline.evaluate.stage import evaluate
from pipeline.ingest import names
from pipeline.ingest.driver import ingest
from pipeline.ingest.synthetic import record
from pipeline.pretrain.stage import pretrain
from pipeline.report.stage import report
from pipeline.runs.perform import SUMMARY
from pipeline.runs.rundir import RunDir
from pipeline.runs.tracking import Tracker
from pipeline.store.clip_store import FLAWS, REJECTS

# What the last lines of a run show, where it was measured.
HEADLINES = (
    *("clips", "rejected", "loss", "collapsed", "clips_per_second"),
    *("parameters", "gflops", "pretraining_parameters", "pretraining_gflops"),
    *("linear_top1", "random_linear_top1", "knn_top1", "random_knn_top1"),
    *("test_copies", "linear_top1_unseen", "knn_top1_unseen"),
)


def ingest_stage(config: Config, run: RunDir, tracker: Tracker) -> dict[str, Any]:
    """Recordings to the clip store; without recordings of their own, synthetic ones are made first."""
    data, raw, reader = config.data, config.data.sources, reader_of(config)
    if raw is None and data.synthetic is not None:
        raw = [run.path("raw")]
        recorded = record(raw[0], **data.synthetic.model_dump(), seed=config.seed)
        say(f"  {len(recorded)} synthetic recordings in {raw[0]}")
    with Bar("ingest", unit="files") as bar:
        manifest = ingest(
            raw=raw,
            store=config.store,
            reader=reader,
            dataset=data.dataset,
            layout=recorded_layout(config),
            persons=data.persons,
            preparation=data.preparation,
            protocols={name: sides.model_dump() for name, sides in data.protocols.items()},
            files_per_shard=data.files_per_shard,
            seed=0,  # of the rows' order alone; not the run's, so that runs with other seeds share a store
            classes=len(data.classes) if data.classes else None,
            left_out=names.left_out(data.left_out, reader),
            max_rejected=config.ingest.max_rejected,
            progress=bar.update,
        )
    open_store(config, run)
    rejected = len(manifest["rejected"])
    for reject in manifest["rejected"][:3]:
        say(f"  set aside: {reject['name']}: {reject['reason']}")
    if rejected:
        say(
            f"  {rejected} recordings set aside; all of them with reasons: {storage.join(config.store, REJECTS)}"
        )
    if manifest["left_out"]:
        say(f"  {manifest['left_out']} clips left out, as {data.left_out} says")
    if manifest["flawed"]:
        say(f"  {manifest['flawed']} clips with flaws: {storage.join(config.store, FLAWS)}")
    sides = manifest["protocols"][data.protocol]
    parts = ", ".join(f"{count} {side}" for side, count in sides.items())
    say(f"  {manifest['clips']} clips in {config.store} ({data.protocol}: {parts})")
    return {"clips": manifest["clips"], "rejected": rejected, "store": config.store}


def ablate_stage(config: Config, run: RunDir, tracker: Tracker) -> dict[str, Any]:
    """The runs of a table, see `pipeline.ablate.stage`."""
    return ablate(config, run, tracker, STAGES)


STAGES = {
    "ingest": ingest_stage,
    "pretrain": pretrain,
    "evaluate": evaluate,
    "report": report,
    "inspect": inspect,
    "ablate": ablate_stage,
}


def announce(config: Config, run: RunDir) -> None:
    """Say what happened and where things are."""
    summary = storage.read_json(run.path(SUMMARY))
    table(
        config.name,
        ["", ""],
        [[key, _shown(key, summary[key])] for key in HEADLINES if key in summary],
    )
    say(f"summary: {run.path(SUMMARY)}")
    local = config.tracking.uri.startswith("sqlite:")
    where = f"mlflow ui --backend-store-uri {config.tracking.uri}" if local else config.tracking.uri
    say(f"MLflow:  {where}   (run {summary['mlflow_run_id']})")


def _shown(key: str, value: Any) -> str:
    if "_top1" in key:
        return f"{100 * value:.1f} %"
    return (
        f"{value:,.4g}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else value
    )
