"""The table of all stages, and the function that runs them.

Importing this takes seconds, because it imports torch, Ray and MLflow.
"""

from contextlib import suppress

from pipeline.card.stage import inspect
from pipeline.cluster.lifeline import RayLostError
from pipeline.cluster.quiet import RAY_LOG, log_stderr
from pipeline.cluster.session import session
from pipeline.core import storage
from pipeline.core.console import say
from pipeline.core.errors import UserError
from pipeline.evaluate.stage import evaluate
from pipeline.ingest.stage import ingest
from pipeline.preflight import Plan
from pipeline.pretrain.stage import pretrain
from pipeline.report.stage import report
from pipeline.runs import files
from pipeline.runs.owner import take
from pipeline.runs.perform import Stages, perform, summarise
from pipeline.runs.resolved import ResolvedRun, resolve
from pipeline.runs.tracking import Tracker, check_tracking
from pipeline.sweep.search import require_buildable
from pipeline.sweep.stage import sweep
from pipeline.sweep.variants import check_variants

# Each function takes a run and its tracker, and returns flat results: name -> number or text.
STAGES: Stages = {
    "ingest": ingest,
    "pretrain": pretrain,
    "evaluate": evaluate,
    "report": report,
    "inspect": inspect,
    "sweep": sweep,
}


def run_stages(plan: Plan) -> None:
    """Run the stages of a plan, and write the summary.

    Args:
        plan: a request that passed the quick checks.

    Raises:
        ConfigError: models, protocols or recordings refuse the request, or another process owns
            the output directory. Nothing was started.
        UserError: a stage cannot go on.
    """
    # First the checks that need torch. Nothing is written before they have passed.
    run = resolve(plan.config, plan.request, plan.directory)
    if "sweep" in plan.todo:
        check_variants(run)
        require_buildable(run)
    check_tracking(plan.config, run.directory)
    # From here on the output directory belongs to this run.
    with take(run.directory.uri) as owner:
        plan.require_unchanged()
        run.directory.begin(plan.config, owner)
        with Tracker(run.config, run.directory, request=run.request) as tracker:
            if plan.todo:
                _perform_on_ray(plan, run, tracker)
            summarise(run, tracker)
        run.directory.conclude()


def _perform_on_ray(plan: Plan, run: ResolvedRun, tracker: Tracker) -> None:
    """Run the stages on Ray. If one fails, say where the log of Ray's C++ side is."""
    cluster = run.config.cluster
    # What Ray writes goes to the console, or with `cluster.quiet` into a log file.
    if not cluster.quiet:
        with session(cluster, say):
            perform(STAGES, plan.todo, run, tracker)
        return
    folder = run.directory.path(files.LOGS)
    log = storage.join(folder, RAY_LOG)
    try:
        with log_stderr(folder), session(cluster, say, log):
            perform(STAGES, plan.todo, run, tracker)
    except RayLostError:
        # Its message names the log.
        raise
    except UserError:
        # The storage may be what failed. Then the log is not there either.
        with suppress(UserError):
            if storage.exists(log):
                say(f"  what Ray wrote meanwhile: {log}")
        raise
