"""A configuration as files of the user's own (`--config-dir`), of which one is an experiment.

Hydra merges what the groups choose with the values of an experiment. So an experiment with all
values would keep the protocols of the default data set, and `model=base` on the command line would
be overridden by it without a word. For these reasons each section that is a group becomes a choice
of that group, and the experiment makes these choices:

    experiment/best.yaml    data/best.yaml    model/best.yaml    objective/best.yaml    ...

What says where things are, such as `output` or `data.raw`, is left to the command line.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from pipeline.config.plain_text import without_interpolation
from pipeline.config.root import Config

# The sections that are groups. `tracking` is one, too, but most of it is a place.
GROUPED = ("data", "stream", "views", "model", "objective", "train", "evaluate", "cluster")
# The keys that say where things are. A file has the value that none was given for.
LEFT_OUT: dict[str, Sequence[str]] = {
    "data": ("raw", "store", "names"),
    "cluster": ("address", "storage_endpoint"),
}
# The width of the files, and of their comments.
WIDTH = 100
# Text that every reader of YAML takes for text. Other text comes in quotes, because PyYAML and
# Hydra do not agree on what a number is: `1e3`.
_PLAIN_TEXT = re.compile(r"[A-Za-z_](?:[A-Za-z0-9_. /-]*[A-Za-z0-9_./-])?")
_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"}


def experiment_files(
    config: Config,
    name: str,
    *,
    stages: Sequence[str] | None = None,
    comments: Sequence[str] = (),
) -> dict[str, str]:
    """Return the files of a directory for `--config-dir`, with which `experiment=NAME` is a run.

    Args:
        config: of the run. A section `sweep` is not written.
        name: of the experiment, and of the choices that it makes.
        stages: of the run; None leaves them to the command line.
        comments: lines of text for the beginning of the experiment.

    Returns:
        The path of a file in the directory -> its content.
    """
    values = config.model_dump(mode="json", exclude={"sweep"})
    choices = []
    files = {}
    for group in GROUPED:
        section = dict(values[group])
        for key in LEFT_OUT.get(group, ()):
            section[key] = None
        if group == "data":
            # What Hydra chooses for it comes before the section, which would override it.
            mapping = section.pop("mapping")
            if mapping is not None:
                choices.append(f"  - override /mapping@data.mapping: {name}")
                files[f"mapping/{name}.yaml"] = as_yaml(mapping)
        choices.append(f"  - override /{group}: {name}")
        files[f"{group}/{name}.yaml"] = as_yaml(section)
    own: dict[str, Any] = {"name": values["name"], "seed": values["seed"]}
    if stages is not None:
        own["stages"] = list(stages)
    own["ingest"] = values["ingest"]
    own["tracking"] = {"experiment": values["tracking"]["experiment"]}
    lines = ["# @package _global_"]
    lines += [f"# {_one_line(comment)}".rstrip() for comment in comments]
    lines += ["defaults:", *choices, "  - _self_", "", as_yaml(own)]
    return {f"experiment/{name}.yaml": "\n".join(lines)} | files


def as_yaml(values: Mapping[str, Any]) -> str:
    """Return plain values as YAML that Hydra reads back as the same values."""
    return yaml.dump(
        _escaped(values),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=WIDTH,
    )


class _Dumper(yaml.SafeDumper):
    """Writes text in quotes unless it can be nothing but text, and repeats equal values."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return True: a value that occurs twice is written twice."""
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    is_plain = _PLAIN_TEXT.fullmatch(text) and text.lower() not in _WORDS
    # In double quotes YAML can write every character.
    style = None if is_plain else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _escaped(value: Any) -> Any:
    """Return a value whose texts OmegaConf reads as they are."""
    if isinstance(value, str):
        return without_interpolation(value)
    if isinstance(value, list):
        return [_escaped(entry) for entry in value]
    if isinstance(value, Mapping):
        return {key: _escaped(entry) for key, entry in value.items()}
    return value


def _one_line(text: str) -> str:
    """Return a text for a comment: without anything that would end the line."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
