"""Entry point: `python pipeline/run.py [key=value ...]`. Checks the whole request, then runs it."""

import json
import sys
import time
from pathlib import Path

# As a script only pipeline/ is on the path; workers and imports need the directory above it.
if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from pipeline.cli import parse_arguments
from pipeline.cluster.job import reach_storage
from pipeline.config.compose import Request, load
from pipeline.config.root import to_yaml
from pipeline.core.console import say
from pipeline.core.environment import prepare_environment
from pipeline.core.errors import UserError
from pipeline.preflight import plan_run


def run(request: Request) -> None:
    """Check a request, and run what it asks for.

    Raises:
        UserError: what is wrong, in one line.
    """
    started = time.monotonic()
    config = load(request.overrides, request.config_dir)
    reach_storage(config.cluster.storage_endpoint)
    if config.stages == ["protocols"]:
        from pipeline.ingest.protocol_counts import count_protocols

        print(json.dumps(count_protocols(config)))
        return
    plan = plan_run(config, request)
    # Only now: what was refused above need not wait for torch, Ray and MLflow to be imported.
    from pipeline.stages import run_stages

    run_stages(plan)
    say(f"run: {time.monotonic() - started:.0f} s")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0 success, 2 a wrong request (nothing was started), 1 any other failure.
    """
    prepare_environment()
    options = parse_arguments(arguments)
    request = Request(tuple(options.overrides), options.config_dir)
    try:
        if options.cfg:
            print(to_yaml(load(request.overrides, request.config_dir)), end="")
            return 0
        run(request)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
