import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError, UserError
from pipeline.protocols import COLUMNS, Side, counts, expression, mask, parse, require_disjoint
from pipeline.readers.ntu import parse_name

ROOT = Path(__file__).resolve().parents[2]
NAMES = ROOT.parent / "shared" / "data"


def columns_of(**values):
    rows = len(next(iter(values.values())))
    return {name: np.array(values.get(name, [-1] * rows), np.int64) for name in COLUMNS}


def test_a_side_is_the_and_of_its_columns_and_rest_is_the_complement():
    columns = columns_of(camera=[1, 1, 2, 3, -1], subject=[1, 2, 1, 1, 1])
    sides = parse({"p": {"train": {"camera": [1, 2], "subject": [1]}, "test": "rest"}})["p"]
    assert mask(columns, sides["train"]).tolist() == [True, False, True, False, False]
    assert mask(columns, sides["test"]).tolist() == [False, True, False, True, True]


def test_no_column_means_every_clip():
    assert mask(columns_of(camera=[1, -1]), parse({"p": {"all": {}}})["p"]["all"]).all()


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ({"train": {"colour": [1]}}, r"protocols\.p\.train\.colour: not a filter column"),
        ({"train": {"camera": 1}}, r"protocols\.p\.train\.camera: expected a list"),
        ({"train": {"camera": []}}, r"protocols\.p\.train\.camera: expected a list"),
        ({"train": {"camera": ["1"]}}, r"protocols\.p\.train\.camera: expected a list of integers"),
        ({"train": {"camera": [True]}}, r"protocols\.p\.train\.camera: expected a list of integers"),
        ({"train": "others"}, r"protocols\.p\.train: expected 'rest'"),
        ({"train": "rest"}, r"protocols\.p: one side"),
        ({"a": {}, "train": "rest", "test": "rest"}, r"protocols\.p: one side"),
        ({}, r"protocols\.p: expected sides"),
    ],
)
def test_a_malformed_protocol_is_named(protocol, message):
    with pytest.raises(ConfigError, match=message):
        parse({"p": protocol})


def test_sides_that_share_clips_are_an_error():
    columns = columns_of(camera=[1, 2, 3])
    require_disjoint(columns, {"p": {"train": {"camera": [1, 2]}, "test": "rest"}})
    with pytest.raises(UserError, match=r"protocols\.p: 1 clips"):
        require_disjoint(columns, {"p": {"train": {"camera": [1, 2]}, "test": {"camera": [2, 3]}}})


values = st.lists(st.integers(0, 4), min_size=1, max_size=3).map(tuple)
terms = st.dictionaries(st.sampled_from(COLUMNS), values, max_size=3).map(lambda d: tuple(d.items()))
row = st.tuples(*[st.one_of(st.none(), st.integers(0, 4))] * len(COLUMNS))


@given(st.lists(row, min_size=1, max_size=20), st.lists(terms, min_size=1, max_size=2), st.booleans())
def test_the_expression_filters_as_the_mask_does(rows, anyof, complement):
    side = Side("p", "s", tuple(anyof), complement)
    table = pa.table({name: pa.array([r[i] for r in rows], pa.int32()) for i, name in enumerate(COLUMNS)})
    table = table.append_column("id", pa.array(range(len(rows))))
    found = pyarrow.dataset.dataset(table).to_table(filter=expression(side).to_pyarrow())["id"].to_pylist()
    columns = {name: table[name].fill_null(-1).to_numpy() for name in COLUMNS}
    expected = [
        i
        for i, r in enumerate(rows)
        if any(all(r[COLUMNS.index(c)] in allowed for c, allowed in t) for t in anyof) != complement
    ]
    assert found == expected == np.flatnonzero(mask(columns, side)).tolist()


@pytest.mark.parametrize(
    ("config", "names", "expected"),
    [
        ("ntu60", "ntu60_clip_ids.txt.gz", {"xsub": [40_091, 16_487], "xview": [37_646, 18_932]}),
        ("ntu120", "ntu120_clip_ids.txt.gz", {"xsub": [63_026, 50_919], "xset": [54_468, 59_477]}),
    ],
)
def test_published_split_sizes(config, names, expected):
    path = NAMES / names
    if not path.exists():
        pytest.skip(f"the published clip names are not there ({path})")
    with gzip.open(path, "rt") as file:
        clips = [parse_name(f"{line.strip()}.skeleton") for line in file if line.strip()]
    columns = {name: np.array([clip[name] for clip in clips]) for name in COLUMNS}
    protocols = yaml.safe_load((ROOT / "conf" / "data" / f"{config}.yaml").read_text())["protocols"]
    assert {name: list(sides.values()) for name, sides in counts(columns, protocols).items()} == expected
    require_disjoint(columns, protocols)
