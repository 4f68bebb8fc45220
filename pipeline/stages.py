"""The stages by name, and a run of them. Importing this takes seconds: it brings in everything."""

from pipeline.ablate.stage import ablate, check_variants
from pipeline.card.stage import inspect
from pipeline.cluster.quiet import RAY_LOG, log_stderr
from pipeline.cluster.session import session
from pipeline.core import storage
from pipeline.core.console import say
from pipeline.core.errors import UserError
from pipeline.evaluate.stage import evaluate
from pipeline.ingest.stage import ingest, require_same_recordings
from pipeline.preflight import Plan
from pipeline.pretrain.stage import pretrain
from pipeline.report.stage import report
from pipeline.runs import files
from pipeline.runs.announce import announce
from pipeline.runs.perform import Stages, perform, summarise
from pipeline.runs.resolved import ResolvedRun, resolve
from pipeline.runs.tracking import Tracker


def _ablate(run: ResolvedRun, tracker: Tracker) -> dict[str, object]:
    """Run the table's cells, each of which is a run of the stages here."""
    return ablate(run, tracker, STAGES)


# The only list of stages. Each takes a run and its tracked twin, and returns flat results.
STAGES: Stages = {
    "ingest": ingest,
    "pretrain": pretrain,
    "evaluate": evaluate,
    "report": report,
    "inspect": inspect,
    "ablate": _ablate,
}


def run_stages(plan: Plan) -> None:
    """Run the stages that are to do, and say what happened and where things are.

    Raises:
        ConfigError: models, protocols or recordings refuse the request. Nothing was started.
        UserError: a stage cannot go on.
    """
    run = resolve(plan.config, plan.request, plan.directory)
    if plan.skips_ingest:
        require_same_recordings(run)
    if "ablate" in plan.todo:
        check_variants(run)
    run.directory.begin(plan.config)
    for stage in plan.config.ordered_stages:
        if stage not in plan.todo:
            say(f"{stage}: done before, skipped")
    if not plan.is_done:
        with Tracker(run.config, run.directory) as tracker:
            if plan.todo:
                _perform_on_ray(plan, run, tracker)
            summarise(run, tracker)
        run.directory.conclude()
    announce(run)


def _perform_on_ray(plan: Plan, run: ResolvedRun, tracker: Tracker) -> None:
    """Run the stages on Ray. Where one fails, name the log of Ray's C++ side if there is one."""
    cluster = run.config.cluster
    if not cluster.quiet:
        with session(cluster, say):
            perform(STAGES, plan.todo, run, tracker)
        return
    folder = run.directory.path(files.LOGS)
    try:
        with log_stderr(folder), session(cluster, say):
            perform(STAGES, plan.todo, run, tracker)
    except UserError:
        log = storage.join(folder, RAY_LOG)
        if storage.exists(log):
            say(f"  what Ray wrote meanwhile: {log}")
        raise
