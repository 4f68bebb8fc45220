"""The command line: its options, the text of `--help`, and what is shown instead of a run."""

import argparse
from typing import NoReturn

from pipeline.config.command_line import shell_command
from pipeline.config.compose import FROM_RUN, Request, experiments, groups, load
from pipeline.config.root import to_yaml

HELP = """\
Pretrain an action encoder from skeleton recordings, without labels, and measure it.

  skelfuse                                     the main job on synthetic recordings, a few minutes
  skelfuse experiment=nw_ucla data.raw=PATH output=DIR
  skelfuse --cfg job                           every key, with its value
  skelfuse from_run=RUN_ID tracking.uri=URI    the run that MLflow has recorded, again
  skelfuse --config-dir DIR data=mine ...      a data set of your own: DIR/data/mine.yaml, ...

`python pipeline/run.py` is the same, from a checkout.

Any key can be set as key=value (Hydra's grammar). The ones needed most:
  experiment=NAME    a complete named configuration: {experiments}
  stages=[...]       of ingest, pretrain, evaluate, report, inspect, sweep; or alone:
                     protocols, compare
  sweep=NAME         many runs: a search, or a table; the names are below
  data.raw=PATH      the recordings: a directory, a zip, a URI, or several: [a,b]
  data.store=PATH    the clip store (default: in output)
  output=PATH        everything the run leaves; the same command again goes on where it stopped
  fresh=true         move an earlier run in output aside
  seed=N             the one seed
  cluster.workers=N  training workers;  cluster.gpu=true  one GPU each
  tracking.uri=URI   MLflow (default: sqlite in output)

Groups, group=choice:
{groups}
"""


class _Parser(argparse.ArgumentParser):
    """A parser that reports a wrong option in one line, as everything else is reported."""

    def error(self, message: str) -> NoReturn:
        """End the process."""
        self.exit(2, f"error: {message}; see --help\n")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line. An unknown option ends the process with exit code 2.

    Args:
        arguments: the words of the command line; None for those of the process.

    Returns:
        `cfg` (None or "job"), `print`, `config_dir`, and `overrides` (`key=value` strings).
    """
    lines = []
    for group, choices in groups().items():
        name = f"{group}="
        lines.append(f"  {name:<12} {', '.join(choices)}")
    # Hydra reads only the overrides. Its own entry point would create folders and set up logging.
    parser = _Parser(
        prog="skelfuse",
        usage="skelfuse [--help] [--cfg job] [--print] [--config-dir DIR] [key=value ...]",
        description=HELP.format(experiments=", ".join(experiments()), groups="\n".join(lines)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cfg", choices=["job"], help="print the resolved configuration and exit")
    parser.add_argument(
        "--print", action="store_true", help=f"print the command of {FROM_RUN}=RUN_ID and exit"
    )
    parser.add_argument("--config-dir", metavar="DIR", help="more choices, laid out as conf/")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="settings, in Hydra's grammar; paths as they are",
    )
    options = parser.parse_intermixed_args(arguments)
    if options.print and not Request(tuple(options.overrides)).names_recorded_run:
        parser.error(f"--print shows the command of {FROM_RUN}=RUN_ID, which is missing")
    return options


def show(request: Request, as_command: bool) -> None:
    """Print a request instead of running it.

    Args:
        request: the command line.
        as_command: whether it is shown as a command, and not as the configuration in YAML.
    """
    # A command is composed as well, so that only one that can be run is shown.
    config = load(request.overrides, request.config_dir)
    if as_command:
        print(shell_command(request))
    else:
        print(to_yaml(config), end="")
