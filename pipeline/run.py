"""The entry point, `python pipeline/run.py [key=value ...]`: check a request, then run it."""

import sys
import time
from pathlib import Path

# Python puts the folder of a script on the path: pipeline/. Imports need the folder above it.
if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from pipeline.core.termination import TERMINATED, TERMINATED_CODE, Terminated, ending

if __name__ == "__main__":
    # Before the imports below, which take a second.
    ending.listen()

from pipeline.cli import parse_arguments, show
from pipeline.cluster.job import reach_storage
from pipeline.config.compose import Request, load
from pipeline.core.console import complain, say
from pipeline.core.environment import prepare_environment
from pipeline.core.errors import UserError
from pipeline.core.redacted_streams import redacted_streams
from pipeline.from_run import without_from_run
from pipeline.preflight import plan_run
from pipeline.quick_stages import run_quick_stage
from pipeline.runs.announce import announce


def run(request: Request) -> None:
    """Check a request, and run its stages.

    Args:
        request: the command line.

    Raises:
        ConfigError: the request is wrong. Nothing was started.
        UserError: a stage cannot go on.
    """
    started = time.monotonic()
    config = load(request.overrides, request.config_dir)
    # Everything below may read from object storage.
    reach_storage(config.cluster.storage_endpoint)
    if config.stages in (["protocols"], ["compare"]):
        run_quick_stage(config, request)
        return
    plan = plan_run(config, request)
    for stage in plan.skipped:
        say(f"{stage}: done before, skipped")
    if not plan.is_done:
        # This imports torch, Ray and MLflow, which takes seconds. A request that is refused above
        # or has nothing left to do does not wait for them.
        from pipeline.stages import run_stages

        run_stages(plan)
    announce(plan.config, plan.directory)
    say(f"run: {time.monotonic() - started:.0f} s")


@redacted_streams()
def main(arguments: list[str] | None = None) -> int:
    """Run the command line, and print an error as one line.

    Args:
        arguments: the words of the command line; None for those of the process.

    Returns:
        The exit code: 0 success, 2 a wrong request (nothing was started), 143 after SIGTERM, 1 any
        other failure.
    """
    prepare_environment()
    options = parse_arguments(arguments)
    is_shown = options.cfg is not None or options.print
    request = Request(tuple(options.overrides), options.config_dir)
    try:
        with ending.guarded():
            request = without_from_run(request, quiet=is_shown)
            if is_shown:
                show(request, options.print)
            else:
                run(request)
    except Terminated:
        complain(TERMINATED)
        return TERMINATED_CODE
    except UserError as error:
        complain(f"error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
