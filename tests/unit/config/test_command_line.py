"""A configuration becomes the command line that composes it."""

import shlex
import subprocess

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from pipeline.config import command_line
from pipeline.config.command_line import as_value, command_of, shell_command
from pipeline.config.compose import Request, load
from pipeline.config.places import settle_places
from pipeline.core.errors import ConfigError
from pipeline.core.paths import CONF

NW_UCLA = ["experiment=nw_ucla", "train.epochs=3", "objective=umurl"]
# Overrides of all kinds: groups, new keys, deleted keys, lists, mappings, texts.
VARIED = [
    "data=ntu60",
    "mapping@data.mapping=kinect_v2_to_kinect_v1",
    "data.dataset='1e3 \\${b}'",
    "+data.protocols.mine={train:{subject:[1]},test:rest}",
    "~data.protocols.xsub",
    "data.protocol=mine",
    "data.classes=[a,'b c','null',\"it's\"]",
    "train.checkpoint.every_epochs=null",
    "train.optimiser.lr=1e-7",
    "data.pool=[{store: /a b, clips: {camera: [1]}, weight: 0.5}]",
]


def settled(overrides, config_dir=None):
    return settle_places(load(overrides, config_dir), in_job=False)


def same(config, command, config_dir=None):
    """Whether a command composes to a configuration, apart from what is of one command."""
    again = settled(command, config_dir)
    left_out = {"output": config.output, "tracking": config.tracking, "fresh": config.fresh}
    left_out["cluster"] = again.cluster.model_copy(update={"address": config.cluster.address})
    return again.model_copy(update=left_out) == config


def test_what_was_typed_comes_back_without_what_is_of_one_command():
    places = ["output=somewhere", "fresh=true", "tracking.uri=http://h", "cluster.address=h:1"]
    config = settled([*NW_UCLA, *places])
    assert command_of(config, [*NW_UCLA, *places], None) == NW_UCLA


def test_a_place_is_as_it_was_where_it_was_typed(tmp_path, monkeypatch):
    typed = ["experiment=nw_ucla", "data.raw=[a,b c]", "data.store=s", "data.left_out=list.txt"]
    monkeypatch.chdir(tmp_path)
    config = settled(typed)
    monkeypatch.chdir("/")
    command = command_of(config, typed, None)
    assert command == [
        "experiment=nw_ucla",
        f"data.raw=[{tmp_path}/a,'{tmp_path}/b c']",
        f"data.store={tmp_path}/s",
        f"data.left_out={tmp_path}/list.txt",
    ]
    assert same(config, command)


def test_what_the_files_have_changed_since_is_added():
    # The experiment of today has another rate, and no such protocol.
    config = settled(
        [*NW_UCLA, "train.optimiser.lr=0.5", "+data.protocols.old={train:{camera:[1]},test:rest}"]
    )
    command = command_of(config, NW_UCLA, None)
    assert command[: len(NW_UCLA)] == NW_UCLA
    assert sorted(command[len(NW_UCLA) :]) == [
        "+data.protocols.old={train:{camera:[1]},test:rest}",
        "train.optimiser.lr=0.5",
    ]
    assert same(config, command)


@pytest.mark.parametrize("typed", [None, ["train.no_such_key=3"]], ids=["unknown", "of old"])
def test_without_what_was_typed_the_nearest_choices_are_found(typed, monkeypatch):
    # Fewer choices than there are, because each takes a while.
    few = {"experiment": ["nw_ucla", "ntu60_xsub"], "objective": ["early", "umurl"]}
    monkeypatch.setattr(command_line, "groups", lambda own: few)
    config = settled(NW_UCLA)
    assert command_of(config, typed, None) == [
        "experiment=nw_ucla",
        "objective=umurl",
        "train.epochs=3",
    ]


def test_what_means_nothing_any_more_is_left_out(monkeypatch):
    monkeypatch.setattr(command_line, "groups", lambda own: {})
    config = settled([*NW_UCLA, "train.batch_size=32"])
    typed = ["experiment=nw_ucla", "objective=gone", "train.gone=1", "train.epochs=3", "seed="]
    command = command_of(config, typed, None)
    assert command[:2] == ["experiment=nw_ucla", "train.epochs=3"]
    assert "train.batch_size=32" in command and same(config, command)


@pytest.mark.parametrize("typed", [VARIED, ["data=ntu60"], []], ids=["all", "some", "none"])
def test_every_kind_of_value_can_be_said(typed):
    config = settled(VARIED)
    assert same(config, command_of(config, typed, None))


def test_joints_keep_their_order():
    config = settled([])
    skeleton = config.data.skeleton
    turned = dict(reversed(skeleton.joints.items()))
    data = config.data.model_copy(
        update={"skeleton": skeleton.model_copy(update={"joints": turned})}
    )
    config = config.model_copy(update={"data": data})
    command = command_of(config, [], None)
    assert list(settled(command).data.skeleton.joints) == list(turned)


def test_a_key_that_files_may_leave_out_is_set(tmp_path):
    (tmp_path / "data").mkdir()
    text = (CONF / "data" / "pyskl.yaml").read_text()
    kept = [line for line in text.splitlines() if not line.startswith("classes")]
    (tmp_path / "data" / "mine.yaml").write_text("\n".join(kept))
    config = settled(["data=mine", "+data.classes=[a,b]"], str(tmp_path))
    command = command_of(config, ["data=mine"], str(tmp_path))
    assert same(config, command, str(tmp_path))


def test_the_settings_of_a_sweep_whose_trial_it_was_are_left_alone():
    typed = ["sweep=ablation_nw_ucla", "train.epochs=3", "stages=[pretrain]"]
    config = settled(typed).model_copy(update={"sweep": None})
    assert command_of(config, typed, None) == typed


def test_a_sweep_can_be_said():
    config = settled(["sweep=ablation_nw_ucla", "sweep.only=[early]"])
    config = config.model_copy(update={"name": "x"})
    command = command_of(config, ["experiment=nw_ucla"], None)
    assert settled(command).sweep == config.sweep


def test_what_cannot_be_said_is_named():
    config = settled([])
    protocols = {"1": config.data.protocols["xview"], "xview": config.data.protocols["xview"]}
    data = config.data.model_copy(update={"protocols": protocols})
    with pytest.raises(ConfigError, match=r"no command line gives .* today: data.protocols"):
        command_of(config.model_copy(update={"data": data}), [], None)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1e-5, "1e-05"),
        ("null", "'null'"),
        ("NaN", "'NaN'"),
        ("a_b/c.d", "a_b/c.d"),
        ("", "''"),
        ("1e3", "'1e3'"),
        ("a,b", "'a,b'"),
        ("it's", "'it\\'s'"),
        ("${a}", "'\\${a}'"),
        ([1, "a", None], "[1,a,null]"),
        ({"a b": {"c": [1]}}, "{a\\ b:{c:[1]}}"),
    ],
)
def test_values_are_written_in_the_grammar_of_hydra(value, text):
    assert as_value(value) == text


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 0.001, 1e-05, "strong", "null", "True", "12", "a b", "a,b=c", "it's", ["a", 1]],
)
def test_hydra_reads_a_value_as_it_was(value):
    parsed = OverridesParser.create().parse_override(f"key={as_value(value)}").value()
    assert parsed == value and type(parsed) is type(value)


def test_a_command_is_quoted_for_the_shell():
    overrides = ("data.raw=[a,'b c']", "~data.protocols.x", "data.dataset='!$HOME\\'\"'", "seed=1")
    command = shell_command(Request(overrides, "my dir"))
    assert command.startswith("skelfuse --config-dir 'my dir' ")
    assert shlex.split(command)[3:] == list(overrides)
    script = f'skelfuse() {{ printf "%s\\0" "$@"; }}; {command}'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\0")[2:-1] == list(overrides)
