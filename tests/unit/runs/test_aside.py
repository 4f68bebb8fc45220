"""`fresh=true` moves a run aside, and nothing else."""

import os
import shutil

import pytest

from pipeline.config.compose import load
from pipeline.config.places import settle_places
from pipeline.config.root import to_yaml
from pipeline.core.errors import ConfigError, UserError
from pipeline.core.paths import CONF, ROOT
from pipeline.runs.aside import foreign_names, holds_run, move_aside, require_movable
from pipeline.runs.relations import is_within, require_nothing_else_moves

CONFIG = load([])


def make_run(directory):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.yaml").write_text(to_yaml(CONFIG))
    return directory


@pytest.mark.parametrize(
    ("content", "state", "is_run"),
    [
        (to_yaml(CONFIG), None, True),
        (to_yaml(CONFIG), "{}", True),
        ("damaged: [", "{}", True),
        ("damaged: [", None, False),
        ("name: somebody\nmodel: theirs\n", None, False),
        ((CONF / "config.yaml").read_text(), None, False),
        (None, "{}", False),
    ],
)
def test_a_run_is_known_by_its_configuration(tmp_path, content, state, is_run):
    if content is not None:
        (tmp_path / "config.yaml").write_text(content)
    if state is not None:
        (tmp_path / "run.json").write_text(state)
    assert holds_run(str(tmp_path)) == is_run
    if not is_run:
        with pytest.raises(ConfigError, match="holds files but no run, so fresh=true does not"):
            require_movable(str(tmp_path))


def test_two_moves_within_a_second_get_two_names(tmp_path):
    run = tmp_path / "run"
    names = set()
    for _ in range(3):
        make_run(run)
        names.add(move_aside(str(run)))
        assert list(run.iterdir()) == []
    assert len(names) == 3
    assert all(os.listdir(name) == ["config.yaml"] for name in names)


def test_behind_a_link_the_directory_moves_and_the_link_stays(tmp_path):
    run = make_run(tmp_path / "disk" / "run")
    (tmp_path / "link").symlink_to(run)
    aside = move_aside(str(tmp_path / "link"))
    assert os.path.dirname(aside) == str(tmp_path / "disk")
    assert (tmp_path / "link").resolve() == run and not list(run.iterdir())


def test_what_cannot_get_another_name_is_refused(tmp_path, monkeypatch):
    long = make_run(tmp_path / ("a" * 240))
    with pytest.raises(ConfigError, match="too long to be moved aside"):
        require_movable(str(long))
    run = make_run(tmp_path / "run")
    monkeypatch.setattr(os.path, "ismount", lambda path: True)
    with pytest.raises(ConfigError, match="a mount point"):
        require_movable(str(run))
    shutil.rmtree(run)
    with pytest.raises(UserError, match=r"output=.*run: cannot be moved aside"):
        move_aside(str(run))


def test_folders_of_others_count_and_what_is_prepared_does_not(tmp_path):
    for name in ("store", "raw", "lost+found", ".snapshot"):
        (tmp_path / name).mkdir()
    assert foreign_names(str(tmp_path)) == []
    (tmp_path / "figures").mkdir()
    (tmp_path / "thesis.tex").touch()
    assert sorted(foreign_names(str(tmp_path))) == ["figures", "thesis.tex"]


def settled(tmp_path, *overrides):
    words = [f"output={tmp_path / 'run'}", "fresh=true", *overrides]
    return settle_places(load(words), in_job=False)


@pytest.mark.parametrize(
    "override", ["data.raw={}/inner", "data.store={}/inner", "data.left_out={}/inner"]
)
def test_a_run_that_contains_what_is_needed_does_not_move(tmp_path, override):
    make_run(tmp_path / "run")
    (tmp_path / "run" / "inner").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    for place in (tmp_path / "run", tmp_path / "link"):
        with pytest.raises(ConfigError, match=r"output=.*is or contains data\.\w+"):
            require_nothing_else_moves(settled(tmp_path, override.format(place)))


def test_the_store_in_the_run_moves_with_it(tmp_path):
    require_nothing_else_moves(settled(tmp_path))
    require_nothing_else_moves(settled(tmp_path, f"data.store={tmp_path}/run/store"))


def test_the_working_directory_and_the_home_do_not_move(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run")
    (run / "deep").mkdir()
    monkeypatch.setenv("HOME", str(run))
    with pytest.raises(ConfigError, match="the home directory"):
        require_nothing_else_moves(settled(tmp_path))
    monkeypatch.chdir(run / "deep")
    with pytest.raises(ConfigError, match="the working directory"):
        require_nothing_else_moves(settled(tmp_path))


def test_the_checkout_does_not_move():
    config = settle_places(load([f"output={ROOT.parent}"]), in_job=False)
    with pytest.raises(ConfigError, match="is or contains"):
        require_nothing_else_moves(config)


def test_places_on_object_storage_are_compared_by_their_names():
    assert is_within("s3://b/run/store?region=x", "s3://b/run")
    assert not is_within("s3://b/run2", "s3://b/run")
    assert not is_within("/b/run", "s3://b/run")
