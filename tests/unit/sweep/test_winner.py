"""The winner of a search becomes an experiment that anybody can run."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cli import parse_arguments
from pipeline.config.compose import Request, load
from pipeline.config.identity import differences
from pipeline.config.places import settle_places
from pipeline.core.errors import UserError
from pipeline.sweep import winner
from pipeline.sweep.choosing import HELD_OUT
from pipeline.sweep.points import Point
from pipeline.sweep.search import Search
from pipeline.sweep.winner import winner_config, write_best
from tests.helpers.searches import CHOOSING, TWO_KEYS, record_of, search_run


def sweep_folder(sweep):
    return Path(sweep.config.output, "best")


def won(run, seeds=(0,)):
    """The first point of a search, whose trials are finished."""
    search = Search(run, CHOOSING, [])
    trials = []
    for _, value in zip(seeds, (0.5, 0.75), strict=False):
        trials.append(search.next_trial())
        search.ended(record_of(trials[-1], "finished", [0.25, value]))
    return search.points[0], trials


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a search")
    return search_run(folder / "out put", *TWO_KEYS, "sweep.seeds=[3,4]", "name=mine", "seed=5")


def test_the_command_runs_the_winner(sweep):
    point, trials = won(sweep, (3, 4))
    command = write_best(sweep, point)
    words = shlex.split(command)
    assert words[0] == "skelfuse"
    options = parse_arguments(words[1:])
    config = settle_places(load(options.overrides, options.config_dir), in_job=False)
    assert (config.name, config.seed) == ("best", 5)
    assert config.stages == ["pretrain", "evaluate", "report"]
    assert config.data.protocol == sweep.config.data.protocol
    assert HELD_OUT not in config.data.protocols
    assert config.store == sweep.config.store and config.tracking == sweep.config.tracking
    assert config.output == f"{sweep.config.output}/best/run"
    assert config.sweep is None
    # It is what the trials were, apart from the choosing protocol and the seed.
    changed = differences(trials[0].config, config)
    assert set(changed) <= {"name", "seed"} | {key for key in changed if "protocol" in key}
    # What serves trials alone is not taken over.
    assert config.train.checkpoint == sweep.config.train.checkpoint
    assert config.train.watch == sweep.config.train.watch
    assert config.views.shear == point.params["views.shear"]


def test_the_file_says_where_it_comes_from(sweep):
    point, _ = won(sweep, (3, 4))
    write_best(sweep, point)
    text = (sweep_folder(sweep) / "experiment" / "best.yaml").read_text()
    assert text.startswith("# @package _global_\n# The winner of the search mine in ")
    assert "# It is point000 (point000-3, point000-4):\n" in text
    assert f"views.shear={point.params['views.shear']}\n" in text
    assert "# linear, held out: 62.5 %, the mean of 2 seeds.\n" in text
    assert "experiment=best" in text


def test_the_files_do_not_depend_on_where_they_lie_or_on_the_defaults(sweep, tmp_path):
    point, _ = won(sweep, (3, 4))
    write_best(sweep, point)
    sweep_folder(sweep).rename(tmp_path / "moved")
    overrides = ["experiment=best", "data=utkinect", "model=base", "data.store=elsewhere"]
    config = load(overrides, str(tmp_path / "moved"))
    assert (config.data.dataset, config.model.layers) == ("utkinect", 2)
    again = load(["experiment=best", "data.store=elsewhere"], str(tmp_path / "moved"))
    assert differences(winner_config(sweep, point), again) == {}


def test_the_next_winner_takes_its_place(sweep):
    point, _ = won(sweep, (3, 4))
    write_best(sweep, point)
    other = Point(7, point.params | {"views.shear": 0.125}, point.seeds)
    command = write_best(sweep, other)
    options = parse_arguments(shlex.split(command)[1:])
    assert load(options.overrides, options.config_dir).views.shear == 0.125


def test_files_that_compose_to_something_else_are_not_announced(sweep, monkeypatch):
    point, _ = won(sweep, (3, 4))
    other = Point(8, point.params | {"views.shear": 0.25}, point.seeds)
    real = winner.experiment_files

    def wrong(config, name, **options):
        views = config.views.model_copy(update={"shear": 0.75})
        return real(config.model_copy(update={"views": views}), name, **options)

    before = {path: path.read_text() for path in sweep_folder(sweep).rglob("*.yaml")}
    monkeypatch.setattr(winner, "experiment_files", wrong)
    with pytest.raises(UserError, match=r"cannot be written as a file: views\.shear would differ"):
        write_best(sweep, other)
    assert {path: path.read_text() for path in sweep_folder(sweep).rglob("*.yaml")} == before


def test_a_search_on_a_cluster_names_it_in_the_command(sweep):
    words = (*sweep.request.overrides, "cluster.address=host:6379")
    config = settle_places(load(words), in_job=False)
    clustered = replace(sweep, config=config, request=Request(words))
    point, _ = won(clustered, (3, 4))
    assert "cluster.address=host:6379" in write_best(clustered, point)


def test_the_winner_of_a_remote_search_is_copied_first(sweep, monkeypatch):
    written = {}
    monkeypatch.setattr(
        winner.storage, "write_bytes", lambda uri, data: written.update({uri: data})
    )
    words = (*sweep.request.overrides, "output=s3://b/x", "tracking.uri=http://h:1")
    config = settle_places(load(words), in_job=False)
    remote = replace(sweep, config=config, request=Request(words))
    point, _ = won(remote, (3, 4))
    command = write_best(remote, point)
    assert command.startswith("skelfuse --config-dir best experiment=best data.store=s3://b/x/st")
    assert command.endswith("(with a copy of s3://b/x/best in ./best)")
    assert list(written)[-1] == "s3://b/x/best/experiment/best.yaml"
