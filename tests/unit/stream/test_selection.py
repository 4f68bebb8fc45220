"""Which clips a stream serves, and what it refuses before it reads any."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import ConfigError, UserError
from pipeline.stream import plan as plan_module
from pipeline.stream.plan import open_stream
from pipeline.stream.selection import Part, performance_numbers, select
from tests.helpers.stores import cameras_side, write_stream_store

BATCH = 20


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_stream_store(str(tmp_path_factory.mktemp("store")))


@pytest.fixture(autouse=True)
def room(monkeypatch):
    """Much free object store, and no Ray."""
    monkeypatch.setattr(plan_module, "free_object_store_bytes", lambda: 1 << 30)


def test_impossible_requests_name_their_key(store):
    with pytest.raises(ConfigError, match=r"stream\.cache=disk"):
        open_stream([Part(store, cameras_side())], cache="disk", batch_size=BATCH, seed=0)
    with pytest.raises(ConfigError, match=r"train\.batch_size=2"):
        open_stream([Part(store, cameras_side())], batch_size=2, seed=0, workers=3)
    with pytest.raises(UserError, match="no clip"):
        open_stream([Part(store, cameras_side([9]))], batch_size=BATCH, seed=0)


def test_a_weight_that_leaves_no_clip_is_refused(store):
    with pytest.raises(ConfigError, match=r"weight=0\.001 of \d+ clips leaves none"):
        open_stream([Part(store, cameras_side([1]), 0.001)], batch_size=BATCH, seed=1)


@pytest.mark.parametrize(
    ("cameras", "cache", "message"),
    [([2, 3], "none", "stream.cache=none cannot"), ([2], "memory", "two of the")],
)
def test_pairs_that_cannot_be_had_are_refused_in_one_line(store, cameras, cache, message):
    parts = [Part(store, cameras_side(cameras))]
    with pytest.raises(ConfigError, match="stream.pairs=cameras: .*" + message):
        open_stream(parts, cache=cache, batch_size=BATCH, seed=0, pairs="cameras")


class FakeStore:
    """A store of `rows` clips of which some are selected. Labels are the rows where not given."""

    def __init__(self, rows, selected, labels=None, performances=None):
        self.rows, self.selected = rows, np.array(selected)
        self.labels = np.arange(rows) if labels is None else np.array(labels)
        names = range(rows) if performances is None else performances
        self.performances = np.array([str(name) for name in names])

    def index(self):
        numbers = np.arange(self.rows)
        columns = {"performance_id": self.performances, "camera": numbers, "label": self.labels}
        return Index(num_frames=10 * numbers, rows=self.rows, **columns)

    def select(self, side, index):
        return self.selected


class Index(SimpleNamespace):
    def __len__(self):
        return self.rows


def test_the_worked_example_of_two_stores():
    first = Part(FakeStore(5, [1, 3]), cameras_side())
    second = Part(FakeStore(4, [0, 2, 3]), cameras_side(), 2 / 3)
    selection = select([first, second], with_pairs=False)
    assert selection.ids.tolist() == [1, 3, 5, 7, 8]
    assert selection.lengths.tolist() == [10, 30, 0, 20, 30]
    assert selection.parts == ((2, 2), (3, 2))
    assert selection.pairs is None
    assert selection.epochs(2, 0).clips == 4
    whole = select([first], with_pairs=True)
    assert whole.parts == () and whole.pairs is not None
    assert whole.epochs(2, 0).clips == 2


def test_labels_of_two_stores_never_meet_and_performances_may():
    first = FakeStore(5, [0, 1, 3, 4], [2, -1, 0, 2, 0], ["x", "y", "x", "y", ""])
    second = FakeStore(4, [0, 1, 2, 3], [1, 0, -1, 1], ["x", "", "x", ""])
    selection = select([Part(first, cameras_side()), Part(second, cameras_side())], False)
    # The first store has the labels 0 to 2.
    assert selection.labels.tolist() == [2, -1, 2, 0, 4, 3, -1, 4]
    performances = selection.performances
    alike = performances[:, None] == performances[None]
    # Both y, and all x of both stores. Clips without a name are alone.
    expected = np.eye(8, dtype=bool)
    expected[1, 2] = expected[2, 1] = True
    expected[np.ix_([0, 4, 6], [0, 4, 6])] = True
    assert (alike == expected).all()
    ids, labels, numbers = selection.facts(np.array([6, 0, 6]))
    assert ids.tolist() == [7, 0, 7] and labels.tolist() == [-1, 2, -1]
    assert numbers.tolist() == performances[[6, 0, 6]].tolist()


@given(st.lists(st.sampled_from(["", "a", "b", "c"]), min_size=1, max_size=12))
def test_clips_share_a_number_where_they_share_a_name(names):
    numbers = performance_numbers(np.array(names))
    assert numbers.min() >= 0 and numbers.max() < len(names)
    for one, name in enumerate(names):
        for other, another in enumerate(names):
            share = one == other or (name == another != "")
            assert (numbers[one] == numbers[other]) == share


def test_the_worked_example_of_performances():
    assert performance_numbers(np.array(["x", "y", "x", "", ""])).tolist() == [1, 2, 1, 0, 3]
    assert performance_numbers(np.array(["x", "y", "x"])).tolist() == [0, 1, 0]
