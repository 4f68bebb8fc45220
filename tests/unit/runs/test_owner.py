"""One process an output: who gets a directory, who is refused, and when a record is stale."""

import functools
import itertools
import json
import os
import signal
import subprocess
import threading
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.config.compose import Request, load
from pipeline.config.places import settle_places
from pipeline.core import process, storage
from pipeline.core.errors import ConfigError, UserError
from pipeline.preflight import plan_run
from pipeline.runs import election, owner_record
from pipeline.runs.directory import RunDirectory
from pipeline.runs.owner import Ownership, refuse_owned, take
from pipeline.runs.owner_record import OwnerRecord, own_record, read_sighting
from tests.helpers.object_store import ObjectStore, Turns

ELSEWHERE = {"host": "gpu-7", "pid": 4242, "numbering": "another", "attempt": "attempt-theirs"}


def left_behind(output, seconds=0.0, **values):
    """A record that another process left, with a heartbeat so many seconds ago."""
    output.mkdir(parents=True, exist_ok=True)
    path = output / "owner.json"
    path.write_text(json.dumps(OwnerRecord(**(ELSEWHERE | values)).model_dump()))
    heartbeat = time.time() - seconds
    os.utime(path, (heartbeat, heartbeat))
    return path


def of_this_machine(pid, started):
    return {"pid": pid, "numbering": process.numbering(), "process_started": started}


def test_the_record_names_the_process_and_is_gone_at_the_end(tmp_path, monkeypatch):
    job = {"metadata": {"job_submission_id": "raysubmit_x"}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(job))
    with take(str(tmp_path / "run")) as owner:
        record = json.loads((tmp_path / "run" / "owner.json").read_text())
        assert record["host"] == process.host() and record["pid"] == os.getpid()
        assert record["process_started"] == process.start_time(os.getpid()) is not None
        assert record["job"] == "raysubmit_x" and record["attempt"] == owner.attempt
        # The claim is gone.
        assert os.listdir(tmp_path / "run") == ["owner.json"]
    assert os.listdir(tmp_path / "run") == []


def test_a_second_process_is_refused_and_told_who_is_there(tmp_path):
    path = left_behind(tmp_path / "run", 3, job="raysubmit_x", began="2026-01-31 23:59:59")
    before = path.read_text()
    for refused in (take, lambda output: refuse_owned(output, fresh=False)):
        with pytest.raises(ConfigError) as caught:
            refused(str(tmp_path / "run"))
        message = str(caught.value)
        assert message.startswith(f"output={tmp_path}/run: process 4242 on gpu-7, job raysubmit_x")
        assert "since 2026-01-31 23:59:59" in message and "was 3 s ago" in message
        assert "choose another output" in message and "90 s" in message and "\n" not in message
    assert path.read_text() == before and os.listdir(tmp_path / "run") == ["owner.json"]


@pytest.mark.parametrize("cause", ["gone", "number in use again", "zombie", "another host"])
def test_a_stale_record_is_taken_over_with_one_line(tmp_path, capsys, cause):
    child = subprocess.Popen(["true"])
    started = process.start_time(child.pid)
    while process.has_ended(child.pid, started) is not True:
        time.sleep(0.01)
    if cause == "zombie":
        # Ended, but nobody asked for its exit code.
        left_behind(tmp_path / "run", **of_this_machine(child.pid, started))
    elif cause == "number in use again":
        left_behind(tmp_path / "run", **of_this_machine(os.getpid(), "1"))
    elif cause == "another host":
        left_behind(tmp_path / "run", 91)
    child.wait()
    if cause == "gone":
        left_behind(tmp_path / "run", **of_this_machine(child.pid, started))
    refuse_owned(str(tmp_path / "run"), fresh=True)
    with take(str(tmp_path / "run")) as owner:
        assert read_sighting(f"{tmp_path}/run/owner.json").record.attempt == owner.attempt
    shown = capsys.readouterr().out
    assert shown.startswith("output: taken over from process ") and shown.count("\n") == 1


@pytest.mark.parametrize(
    ("seconds", "values"),
    [
        (60, {}),
        # The same name, but other process numbers: a container, for example.
        (60, {"host": process.host(), "pid": 999_999_999}),
        # It hangs, but it may go on at any time.
        (9999, of_this_machine(os.getpid(), process.start_time(os.getpid()))),
        # Without a start time only the heartbeat tells.
        (60, of_this_machine(os.getpid(), None)),
    ],
)
def test_a_process_that_may_live_is_not_taken_over(tmp_path, seconds, values):
    left_behind(tmp_path / "run", seconds, **values)
    with pytest.raises(ConfigError, match="has been working on it"):
        take(str(tmp_path / "run"))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"pid": "x"}', '{"heartbeat_seconds": 1e9}']
)
def test_a_damaged_record_counts_while_its_heartbeat_is_new(tmp_path, text):
    path = left_behind(tmp_path / "run")
    path.write_text(text)
    with pytest.raises(ConfigError, match="a process that cannot be named"):
        take(str(tmp_path / "run"))
    os.utime(path, (0, 0))
    with take(str(tmp_path / "run")):
        pass


def test_of_many_that_begin_at_once_one_gets_a_local_directory(tmp_path):
    for number in range(4):
        output = tmp_path / f"run-{number}"
        if number % 2:
            left_behind(output, 1000)
        assert len(winners(str(output))) == 1
        assert os.listdir(output) == ["owner.json"]


def winners(output, processes=4):
    """What processes that begin at once got; the rest are refused."""
    barrier = threading.Barrier(processes)
    won = []

    def begin():
        barrier.wait()
        try:
            won.append(take(output))
        except ConfigError as error:
            assert "has been working on it" in str(error)

    threads = [threading.Thread(target=begin) for _ in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return won


@settings(max_examples=60, deadline=None)
@given(
    bursts=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), max_size=12),
    dead_owner=st.booleans(),
    dead_claim=st.booleans(),
)
# The second has listed the claims before the first writes its own.
@example(bursts=[(1, 5), (0, 9), (1, 9)], dead_owner=False, dead_claim=False)
def test_of_three_that_begin_at_once_one_gets_object_storage(bursts, dead_owner, dead_claim):
    # Which thread goes on, and for how many operations; in the end all of them in turn.
    order = [number for number, operations in bursts for _ in range(operations)]
    turns = Turns()
    store = ObjectStore(turns.wait)
    output = "s3://bucket/run"
    dead = OwnerRecord(**ELSEWHERE).model_dump()
    names = (["owner.json"] if dead_owner else []) + (["owner-0.json"] if dead_claim else [])
    for name in names:
        store.objects[f"{output}/{name}"] = json.dumps(dead)
        store.written[f"{output}/{name}"] = time.time() - 1000
    won, refused = [], []

    def begin():
        try:
            won.append(take(output))
        except ConfigError as error:
            refused.append(error)

    with store.installed(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(election.time, "sleep", lambda seconds: turns.wait())
        # The name decides who withdraws.
        patch.setattr(owner_record, "new_attempt", lambda: threading.current_thread().name)
        turns.run(dict.fromkeys("abc", begin), itertools.chain(order, itertools.cycle(range(3))))
    assert len(won) == 1 and len(refused) == 2
    assert list(store.objects) == [f"{output}/owner.json"]
    assert json.loads(store.objects[f"{output}/owner.json"])["attempt"] == won[0].attempt


def test_heartbeats_are_compared_by_the_clock_of_the_storage():
    store = ObjectStore(clock=lambda: time.time() - 1000)
    output = "s3://bucket/run"
    with store.installed():
        store.write_json(f"{output}/owner.json", OwnerRecord(**ELSEWHERE).model_dump())
        with pytest.raises(ConfigError, match="was 0 s ago"):
            take(output)
        assert list(store.objects) == [f"{output}/owner.json"]
        store.written[f"{output}/owner.json"] -= 100
        assert take(output).lost is None


def quick(output):
    """An ownership whose heart beats quickly."""
    record = own_record().model_copy(update={"heartbeat_seconds": 0.02})
    election.elect(str(output), record)
    return Ownership(str(output), record)


@pytest.fixture
def quick_look(monkeypatch):
    monkeypatch.setattr("pipeline.runs.owner.LOOK_SECONDS", 0.01)


def test_the_heartbeat_is_renewed_locally_and_on_object_storage(tmp_path, quick_look):
    store = ObjectStore()
    with quick(tmp_path):
        os.utime(tmp_path / "owner.json", (0, 0))
        wait_until(lambda: (tmp_path / "owner.json").stat().st_mtime > 0)
    with store.installed(), quick("s3://bucket/run"):
        first = store.written["s3://bucket/run/owner.json"]
        wait_until(lambda: store.written["s3://bucket/run/owner.json"] > first)
    assert not store.objects


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("ignored", [False, True])
def test_who_is_taken_over_stops_even_while_it_waits(tmp_path, quick_look, ignored):
    before = signal.getsignal(signal.SIGINT)
    if ignored:
        # As a shell starts what runs in the background.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        taken_over = pytest.raises(UserError, match="process 4242 on gpu-7 has taken it over")
        with taken_over as caught, quick(tmp_path):
            left_behind(tmp_path)
            time.sleep(30)
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught.value.exit_code == 1
    # The other's record stays.
    assert read_sighting(f"{tmp_path}/owner.json").record.host == "gpu-7"


def test_a_storage_that_fails_for_a_moment_is_no_loss(tmp_path, monkeypatch, quick_look):
    with quick(tmp_path) as owner:
        with monkeypatch.context() as patch:
            failed = threading.Event()

            def fail(uri):
                failed.set()
                raise UserError(f"{uri}: cannot be read")

            patch.setattr(storage, "read_bytes", fail)
            assert failed.wait(10)
        owner.verify()


def test_who_finds_its_record_deleted_stops_before_it_deletes_anything(tmp_path):
    owner = take(str(tmp_path))
    owner.verify()
    (tmp_path / "owner.json").unlink()
    with pytest.raises(UserError, match=r"owner\.json: deleted while this run was at work"):
        owner.verify()


def test_ctrl_c_and_failures_release_the_directory(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), take(str(tmp_path)):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), take(str(tmp_path)):
        _ = 1 / 0
    assert os.listdir(tmp_path) == [] and signal.getsignal(signal.SIGINT) is before


@functools.cache
def composed():
    """A configuration; to compose one takes most of a second."""
    return load(["output=/nowhere"])


def settled(output, **changes):
    changes = {"output": str(output)} | changes
    return settle_places(composed().model_copy(update=changes), in_job=False)


def a_run(output, **changes):
    """A run that has finished its first stage; returns its configuration."""
    config = settled(output, **changes)
    directory = RunDirectory.open(config)
    directory.begin(config)
    directory.finish("ingest", {"clips": 7})
    return config


def test_fresh_moves_no_owned_run_aside(tmp_path):
    a_run(tmp_path / "table")
    path = left_behind(tmp_path / "table")
    config = settled(tmp_path / "table", fresh=True)
    with pytest.raises(ConfigError, match="has been working on it"):
        plan_run(config, Request())
    # A cell of a table can be run alone.
    path.unlink()
    left_behind(tmp_path / "table" / "late" / "late-0")
    with pytest.raises(ConfigError, match=r"output=.*/table/late/late-0: process 4242"):
        plan_run(config, Request())


def test_fresh_takes_the_new_directory_and_frees_the_old_one(tmp_path):
    a_run(tmp_path / "run")
    config = settled(tmp_path / "run", fresh=True)
    directory = RunDirectory.open(config)
    with take(config.output) as owner:
        directory.begin(config, owner)
        owner.verify()
        (aside,) = tmp_path.glob("run.*")
        assert sorted(os.listdir(aside)) == ["config.yaml", "run.json"]
        assert sorted(os.listdir(tmp_path / "run")) == ["config.yaml", "owner.json"]


def test_fresh_in_an_empty_place_moves_nothing(tmp_path):
    config = settled(tmp_path / "run", fresh=True)
    with take(config.output) as owner:
        RunDirectory.open(config).begin(config, owner)
    assert os.listdir(tmp_path) == ["run"]


def test_a_kill_before_the_first_write_leaves_a_place_to_begin_in(tmp_path):
    left_behind(tmp_path / "run", 1000)
    (tmp_path / "run" / "owner-attempt-x.json").write_text("{}")
    config = settled(tmp_path / "run")
    RunDirectory.open(config)
    # Another name is a file of somebody.
    (tmp_path / "run" / "owner.txt").write_text("")
    with pytest.raises(ConfigError, match="holds files but no run"):
        RunDirectory.open(config)


def test_the_owner_is_named_rather_than_other_settings(tmp_path):
    a_run(tmp_path / "run")
    left_behind(tmp_path / "run")
    with pytest.raises(ConfigError, match="has been working on it"):
        plan_run(settled(tmp_path / "run", seed=13), Request())


def test_a_finished_run_is_shown_whoever_is_there(tmp_path):
    config = a_run(tmp_path / "run", stages=["ingest"])
    directory = RunDirectory.open(config)
    directory.conclude()
    (tmp_path / "run" / "summary.json").write_text("{}")
    (tmp_path / "run" / "store").mkdir()
    (tmp_path / "run" / "store" / "manifest.json").write_text("{}")
    left_behind(tmp_path / "run")
    assert plan_run(config, Request()).is_done


def test_a_plan_that_another_process_has_overtaken_is_refused(tmp_path):
    plan = plan_run(settled(tmp_path / "run"), Request())
    plan.require_unchanged()
    a_run(tmp_path / "run")
    with pytest.raises(ConfigError, match="start the same command again"):
        plan.require_unchanged()


def test_who_lost_the_directory_writes_no_state(tmp_path):
    config = settled(tmp_path / "run")
    directory = RunDirectory.open(config)
    owner = take(config.output)
    directory.begin(config, owner)
    assert directory.attempt == owner.attempt
    owner.lost = "somebody else has it"
    with pytest.raises(UserError, match="somebody else"):
        directory.finish("ingest", {})
    assert not (tmp_path / "run" / "run.json").exists()


def test_attempts_without_an_owner_have_unique_names_too(tmp_path):
    directory = RunDirectory(str(tmp_path))
    assert directory.attempt != directory.attempt
