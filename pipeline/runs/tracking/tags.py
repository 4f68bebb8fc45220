"""The tags of an MLflow run that say which run it is a record of."""

from importlib.metadata import version

from pipeline.config.identity import digest
from pipeline.config.root import Config
from pipeline.runs.code_version import code_version

CONFIG_DIGEST = "config.digest"
# The output directory. It tells whose a run is, because a copied directory brings the id along.
OUTPUT = "run.output"
# The run does not hold yet what the output directory held when it was created.
INCOMPLETE = "run.incomplete"


def first_tags(config: Config, output: str) -> dict[str, str]:
    """Return the tags that an MLflow run is created with.

    Args:
        config: the configuration of the run.
        output: its output directory.
    """
    return {
        "code.version": code_version(),
        CONFIG_DIGEST: digest(config),
        "ray.version": version("ray"),
        "torch.version": version("torch"),
        OUTPUT: output,
        INCOMPLETE: "true",
    }
