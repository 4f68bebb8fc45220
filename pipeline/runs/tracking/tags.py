"""The tags of an MLflow run that say which run it is a record of."""

import json
from importlib.metadata import version

from pipeline.config.compose import Request
from pipeline.config.identity import digest
from pipeline.config.root import Config
from pipeline.core.secrets import redact
from pipeline.runs.code_version import code_version

CONFIG_DIGEST = "config.digest"
# The output directory. It tells whose a run is, because a copied directory brings the id along.
OUTPUT = "run.output"
# The run does not hold yet what the output directory held when it was created.
INCOMPLETE = "run.incomplete"
# What a user typed for the run: a JSON list of overrides, and `--config-dir`.
COMMAND = "run.command"
CONFIG_DIR = "run.config_dir"
# The content of the clip store that the run uses.
FINGERPRINT = "store.fingerprint"
# Of so many steps one row of metrics is in MLflow.
EVERY_STEPS = "metrics.every_steps"
# The tags of a trial of a sweep, and how those of its searched settings begin.
SWEEP_PREFIX = "sweep."
SWEEP_NAME = "sweep.name"
SWEEP_GROUP = "sweep.group"
SWEEP_STATE = "sweep.state"
SWEEP_REASON = "sweep.reason"
SWEEP_PARAM_PREFIX = "sweep.param."
# The tags of a sweep: the id of the MLflow run of its best trial, and the name of that.
SWEEP_BEST = "sweep.best"
SWEEP_BEST_NAME = "sweep.best_name"
# What MLflow takes.
TAG_LENGTH = 5000


def first_tags(config: Config, output: str, request: Request | None = None) -> dict[str, str]:
    """Return the tags that an MLflow run is created with.

    Args:
        config: the configuration of the run.
        output: its output directory.
        request: the command line, None if nobody typed one.
    """
    tags = {
        "code.version": code_version(),
        CONFIG_DIGEST: digest(config),
        "ray.version": version("ray"),
        "torch.version": version("torch"),
        OUTPUT: output,
        INCOMPLETE: "true",
    }
    if request is not None:
        command = json.dumps([redact(override) for override in request.overrides])
        # A part of a list would be no list.
        if len(command) <= TAG_LENGTH:
            tags[COMMAND] = command
        if request.config_dir is not None:
            tags[CONFIG_DIR] = redact(request.config_dir)
    return tags
