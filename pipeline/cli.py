"""The command line: `--help` for a newcomer, `--cfg job`, and Hydra overrides."""

import argparse

from pipeline.config.schema import experiments, groups

TEXT = """\
Pretrain an action encoder from skeleton recordings, without labels, and measure it.

  python pipeline/run.py                                  the main job on synthetic recordings, a few minutes
  python pipeline/run.py experiment=nw_ucla data.raw=PATH output=DIR
  python pipeline/run.py --cfg job                        every key, with its value

  python pipeline/run.py --config-dir DIR data=mine ...   data sets of your own: DIR/data/mine.yaml, DIR/skeleton/...

Any key can be set as key=value (Hydra's grammar). The ones needed most:
  experiment=NAME    a complete named configuration: {experiments}
  stages=[...]       which of ingest, pretrain, evaluate, report, inspect; or alone: protocols, ablate
  data.raw=PATH      the recordings: a directory, a zip, a URI, or several: [a,b]
  data.store=PATH    the clip store (default: in output)
  output=PATH        everything the run leaves behind; the same command again goes on where it stopped
  fresh=true         move an earlier run in output aside
  seed=N             the one seed
  cluster.workers=N  training workers;  cluster.gpu=true  one GPU each
  tracking.uri=URI   MLflow (default: sqlite in output)

Groups, group=choice:
{groups}
"""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options `cfg` (None or "job"), `config_dir` and `overrides` (key=value strings); wrong use exits with 2."""
    lines = "\n".join(
        f"  {group + '=':<12} {', '.join(choices)}" for group, choices in groups().items()
    )
    parser = argparse.ArgumentParser(
        prog="run.py",
        usage="python pipeline/run.py [--help] [--cfg job] [--config-dir DIR] [key=value ...]",
        description=TEXT.format(experiments=", ".join(experiments()), groups=lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cfg", choices=["job"], help="print the resolved configuration and exit")
    parser.add_argument("--config-dir", metavar="DIR", help="more choices, laid out as conf/")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings, in Hydra's grammar"
    )
    return parser.parse_intermixed_args(arguments)
