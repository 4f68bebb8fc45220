import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import ConfigError, UserError
from pipeline.run import main
from pipeline.store.protocols import SPLIT, Side, mask, parse, require_disjoint
from pipeline.store.shards import INTEGERS
from tests.helpers.paths import ROOT, SHARED_DATA

NAMES = SHARED_DATA


def columns_of(**values):
    rows = len(next(iter(values.values())))
    columns = {name: np.array(values.get(name, [-1] * rows), np.int64) for name in INTEGERS}
    return columns | {SPLIT: np.fromiter([()] * rows, object, rows)}


def test_a_side_is_the_and_of_its_columns_and_rest_is_the_complement():
    columns = columns_of(camera=[1, 1, 2, 3, -1], subject=[1, 2, 1, 1, 1])
    sides = parse({"p": {"train": {"camera": [1, 2], "subject": [1]}, "test": "rest"}})["p"]
    assert mask(columns, sides["train"]).tolist() == [True, False, True, False, False]
    assert mask(columns, sides["test"]).tolist() == [False, True, False, True, True]


def test_a_list_is_any_of_its_members():
    columns = columns_of(camera=[1, 1, 2, 2, 3], subject=[1, 2, 1, 2, 1])
    sides = parse(
        {"p": {"train": [{"camera": [1]}, {"camera": [2], "subject": [1]}], "test": "rest"}}
    )["p"]
    assert mask(columns, sides["train"]).tolist() == [True, True, True, False, False]
    assert mask(columns, sides["test"]).tolist() == [False, False, False, True, True]


def test_no_column_means_every_clip():
    assert mask(columns_of(camera=[1, -1]), parse({"p": {"all": {}}})["p"]["all"]).all()


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ({"train": {"colour": [1]}}, r"protocols\.p\.train\.colour: not a filter column"),
        ({"train": {"camera": 1}}, r"protocols\.p\.train\.camera: expected a list"),
        ({"train": {"camera": []}}, r"protocols\.p\.train\.camera: expected a list"),
        ({"train": {"camera": ["1"]}}, r"protocols\.p\.train\.camera: expected a list of integers"),
        (
            {"train": {"camera": [True]}},
            r"protocols\.p\.train\.camera: expected a list of integers",
        ),
        ({"train": {"split": [1]}}, r"protocols\.p\.train\.split: expected a list of names"),
        ({"train": {"split": "train"}}, r"protocols\.p\.train\.split: expected a list of names"),
        (
            {"train": [{"camera": [1]}, {"camera": []}]},
            r"protocols\.p\.train\[1\]\.camera: expected a list",
        ),
        ({"train": []}, r"protocols\.p\.train: expected 'rest'"),
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


def test_splits_are_filtered_by_name():
    columns = columns_of(camera=[1, 1, 2, 2])
    columns["split"][:] = [("a.train", "b.test"), ("a.test",), (), ("a.train",)]
    sides = parse(
        {
            "p": {
                "train": {"split": ["a.train"], "camera": [1]},
                "test": {"split": ["a.test", "b.test"]},
            }
        }
    )["p"]
    assert mask(columns, sides["train"]).tolist() == [True, False, False, False]
    assert mask(columns, sides["test"]).tolist() == [True, True, False, False]


@given(
    st.lists(st.tuples(*[st.integers(-1, 4)] * len(INTEGERS)), min_size=1, max_size=20),
    st.lists(
        st.dictionaries(
            st.sampled_from(INTEGERS),
            st.lists(st.integers(0, 4), min_size=1, max_size=3),
            max_size=3,
        ),
        min_size=1,
        max_size=2,
    ),
    st.booleans(),
)
def test_the_mask_is_the_rule_row_by_row(rows, anyof, complement):
    columns = {name: np.array([row[i] for row in rows]) for i, name in enumerate(INTEGERS)}
    side = Side("p", "s", tuple(tuple(terms.items()) for terms in anyof), complement)
    expected = [
        any(
            all(row[INTEGERS.index(name)] in values for name, values in terms.items())
            for terms in anyof
        )
        != complement
        for row in rows
    ]
    assert mask(columns, side).tolist() == expected


@pytest.mark.parametrize("left_out", ["shipped", "none"])
@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("ntu60", {"xsub": [40_091, 16_487], "xview": [37_646, 18_932]}),
        ("ntu120", {"xsub": [63_026, 50_919], "xset": [54_468, 59_477]}),
    ],
)
def test_published_split_sizes(tmp_path, capsys, config, expected, left_out):
    """From the names that remain, and from all names, less the missing ones of the shipped list."""
    path = NAMES / f"{config}_clip_ids.txt.gz"
    if not path.exists():
        pytest.skip(f"the published clip names are not there ({path})")
    names, overrides = path, ["data.left_out=null"]
    if left_out == "shipped":
        names, overrides = tmp_path / "all.txt", []
        missing = (ROOT / "conf" / "data" / "missing" / f"{config}.txt").read_text()
        names.write_text(
            f"three lines\nof explanation\n\n{missing}{gzip.decompress(path.read_bytes()).decode()}"
        )
    assert main(["stages=[protocols]", f"data={config}", f"data.names={names}", *overrides]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == expected
