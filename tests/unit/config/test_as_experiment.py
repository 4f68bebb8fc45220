"""A configuration, written as files of the user's own, composes to the same configuration."""

from pathlib import Path

import pytest
import yaml

from pipeline.config.as_experiment import as_yaml, experiment_files
from pipeline.config.compose import experiments, load
from pipeline.config.identity import differences, flatten
from pipeline.core.paths import CONF

# What the files leave to the command line.
OF_THE_COMMAND = ("stages", "output", "fresh", "sweep", "tracking.uri", "data.raw", "data.store")
EVERYTHING = [
    *([f"experiment={name}"] for name in experiments()),
    *([f"sweep={path.stem}"] for path in sorted((CONF / "sweep").glob("*.yaml"))),
    *([f"data={path.stem}"] for path in sorted((CONF / "data").glob("*.yaml"))),
    ["data=ntu60", "mapping@data.mapping=kinect_v2_to_kinect_v1"],
    ["objective=umurl", "train=umurl", "views=umurl", "model=base", "cluster.workers=3"],
]


def written(directory: Path, overrides: list[str], name: str = "best", **options: object) -> str:
    """Write the files of a configuration, and return their directory."""
    for path, content in experiment_files(load(overrides), name, **options).items():
        place = directory / path
        place.parent.mkdir(exist_ok=True)
        place.write_text(content)
    return str(directory)


@pytest.mark.parametrize("overrides", EVERYTHING, ids=" ".join)
def test_it_composes_to_the_same_configuration(overrides, tmp_path):
    # The clips that a run rejects and the experiment of MLflow do not decide what is computed.
    overrides = [*overrides, "ingest.max_rejected=0.5", "tracking.experiment=mine", "seed=7"]
    config = load(overrides)
    again = load(["experiment=best"], written(tmp_path, overrides))
    assert differences(config, again) == {}
    ours, theirs = flatten(config.model_dump()), flatten(again.model_dump())
    for key in ours.keys() | theirs.keys():
        if not key.startswith(OF_THE_COMMAND):
            assert ours[key] == theirs[key], key


def test_a_group_of_the_command_line_is_not_overridden_by_it(tmp_path):
    own = written(tmp_path, ["experiment=nw_ucla", "objective.alignment.temperature=0.7"])
    words = ["experiment=best", "model=base", "objective=early", "data=ntu120", "seed=3"]
    words.append("mapping@data.mapping=kinect_v2_to_kinect_v1")
    config = load(words, own)
    plain = load([*words[1:], "experiment=nw_ucla"])
    changed = {"data.protocol", "evaluate.probe"}
    assert differences(config, plain).keys() <= changed
    assert (config.model.layers, config.objective.name, config.data.dataset) == (
        2,
        "early",
        "ntu-120",
    )


def test_places_and_stages_are_left_to_the_command(tmp_path):
    overrides = ["data.raw=[a,b]", "data.store=s", "cluster.address=h:1", "stages=[pretrain]"]
    config = load(["experiment=best"], written(tmp_path, overrides))
    assert (config.data.raw, config.data.store, config.cluster.address) == (None, None, None)
    assert config.stages == ["ingest", "pretrain", "evaluate", "report"]
    config = load(["experiment=best", "data.raw=c", "cluster.address=h:2"], str(tmp_path))
    assert (config.data.raw, config.cluster.address) == ("c", "h:2")


def test_stages_and_comments_are_written_where_given(tmp_path):
    own = written(tmp_path, [], stages=["pretrain"], comments=["two\nlines: [", "", "x"])
    assert load(["experiment=best"], own).stages == ["pretrain"]
    text = (tmp_path / "experiment" / "best.yaml").read_text()
    assert text.startswith("# @package _global_\n# two lines: [\n#\n# x\ndefaults:\n")


TEXTS = r"""1e3 1_0 0x1 1:30 null On ~ #a é = 2020-01-01 ' " \ a\${b} \\${b} ${a} $ a} *a &a .5"""
TEXTS = [*TEXTS.split(), "", " a ", "a: b", "a\nb", "- a", "${a} ${b}", "\u2028"]


def test_texts_stay_what_they_are(tmp_path):
    values = {"list": [text for text in TEXTS if "${" not in text], "inner": {"=": "1e3"}}
    assert yaml.safe_load(as_yaml(values)) == values
    config = load([])
    changed = {"classes": TEXTS, "dataset": "${1e3}", "protocols": {}}
    for text in TEXTS:
        changed["protocols"][text] = config.data.protocols["xview"]
    data = config.data.model_copy(update=changed | {"protocol": TEXTS[0]})
    config = config.model_copy(update={"data": data})
    for path, content in experiment_files(config, "best").items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(content)
    assert load(["experiment=best"], str(tmp_path)).data == data
