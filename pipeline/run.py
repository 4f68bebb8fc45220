"""Entry point: `python pipeline/run.py [key=value ...]`. Checks the whole request, then runs its stages."""

import json
import sys
import time
from pathlib import Path

# As a script only pipeline/ is on the path; workers and imports need the directory above it.
if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from pipeline.cluster.session import prepare_environment, reach_storage

prepare_environment()

from pipeline.cli import parse_arguments  # noqa: E402
from pipeline.config.schema import Config, load, to_yaml  # noqa: E402
from pipeline.core.console import say  # noqa: E402
from pipeline.core.errors import UserError  # noqa: E402


def run(config: Config) -> None:
    """Run the stages of a checked configuration, each that is not finished already."""
    from pipeline.cluster.session import session
    from pipeline.encoder.build import reader_of
    from pipeline.ingest.driver import require_same_recordings
    from pipeline.runs.perform import perform, summarise
    from pipeline.runs.rundir import RunDir, require_data
    from pipeline.runs.tracking import Tracker
    from pipeline.stages import STAGES, announce

    directory = RunDir.open(config)
    todo = directory.unfinished(config)
    if "ingest" in config.stages and "ingest" not in todo and config.data.sources:
        require_same_recordings(config.data.sources, config.store, reader_of(config))
    require_data(config, ingesting=not {"ingest", "ablate"}.isdisjoint(todo))
    directory.begin(config)
    for stage in config.ordered_stages:
        if stage not in todo:
            say(f"{stage}: done before, skipped")
    if todo or not directory.state.get("summarised"):
        with Tracker(config, directory) as tracker:
            if todo:
                with session(config.cluster, say):
                    perform(STAGES, todo, config, directory, tracker)
            summarise(config, directory, tracker)
        directory.conclude()
    announce(config, directory)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 success, 2 a wrong request (nothing was started), 1 anything else that failed."""
    started = time.monotonic()
    options = parse_arguments(arguments)
    try:
        config = load(options.overrides, options.config_dir)
        if options.cfg:
            print(to_yaml(config), end="")
            return 0
        # Only now: --help and --cfg answer without importing torch, Ray and MLflow.
        from pipeline.ablate.stage import variants
        from pipeline.encoder.build import check_models, reader_of
        from pipeline.ingest.names import count
        from pipeline.runs.rundir import settle_places

        check_models(config)
        if config.stages == ["ablate"]:
            variants(config)
        reach_storage(config.cluster)
        if config.stages == ["protocols"]:
            print(json.dumps(count(config, reader_of(config))))
            return 0
        run(settle_places(config))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 1
    say(f"run: {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
