"""Paths on the command line come out as they were typed."""

from typing import get_args, get_origin

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from pipeline.config.compose import load
from pipeline.config.plain_text import PLACES, quote, quoted
from pipeline.config.root import Config
from pipeline.config.section import Place

# Any character but control characters and lone surrogates.
PATHS = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=40)
PARSER = OverridesParser.create()


def read(override):
    """The value of an override, as Hydra reads it."""
    return PARSER.parse_override(quoted(override)).value()


def is_plain(text):
    """True unless the text means something else: a list, `null`, quotes."""
    in_quotes = text[0] == text[-1] and text[0] in "'\"" and len(text) > 1
    return not (text[0] == "[" and text[-1] == "]") and not in_quotes and text.lower() != "null"


@given(PATHS)
@example("~/ntu")
@example("/home/张三/ntu.zip")
@example("/data/NTU (1).zip")
@example("runs/lr=0.1")
@example("run#1")
@example("/data/O'Brien")
@example("s3://bucket/ntu?endpoint_override=http://host:9000")
@example("$x{y},z")
@example("5")
@example("true")
@example("a\\")
@example("a\\'")
@example("' ")
def test_a_path_comes_out_as_typed(path):
    assume(is_plain(path.strip() or " "))
    assert read(f"output={path}") == path
    assert read(f"++data.raw={path}") == path


@given(st.lists(PATHS.map(str.strip), min_size=1, max_size=4))
def test_the_items_of_a_list_come_out_as_typed(paths):
    assume(all(path and "," not in path and is_plain(f"{path} ") for path in paths))
    assume(not any(path[0] in "'\"" for path in paths))
    assert read(f"data.raw=[{','.join(paths)}]") == paths


@given(PATHS)
def test_a_text_in_quotes_is_read_as_itself(text):
    assert PARSER.parse_override(f"x={quote(text)}").value() == text
    assert PARSER.parse_override(f"x=[{quote(text)}]").value() == [text]


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("data.raw=null", None),
        ("data.raw='a,b'", "a,b"),
        ('data.raw="a b"', "a b"),
        ("data.raw=[a, 'b,c' ,~/d]", ["a", "b,c", "~/d"]),
        ("data.raw=[]", []),
        ("output=${name}/x", "${name}/x"),
        ("seed=1", 1),
        ("name=1", 1),
    ],
)
def test_what_has_a_meaning_keeps_it(override, value):
    assert read(override) == value


def keys_of_places(kind, key=""):
    """The keys of all settings whose type is `Place`, or has one in it."""
    if kind == Place:
        yield key
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            inner = f"{key}.{name}".removeprefix(".")
            if field.metadata == list(Place.__metadata__):
                yield inner
            yield from keys_of_places(field.annotation, inner)
    else:
        has_sections = get_origin(kind) is list and get_args(kind)[0] != Place
        for part in get_args(kind):
            yield from keys_of_places(part, rf"{key}.\d+" if has_sections else key)


def test_all_places_are_plain_text():
    assert set(keys_of_places(Config)) == set(PLACES)


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("compare.filter=metrics.`linear/top1` > 0.8 and params.seed = '0'", None),
        ("compare.filter=params.a IN ('b', \"c\")", None),
        # Digits with an e are a number to Hydra, and 32 digits are an id to MLflow.
        ("compare.sweep=12345678901234567890123456789e12", None),
        ("compare.runs=[1e5,00]", ["1e5", "00"]),
        ("compare.experiment=my runs (2)", None),
    ],
)
def test_what_mlflow_reads_reaches_the_configuration_as_typed(override, value):
    key, _, text = override.partition("=")
    section = load(["stages=[compare]", override]).compare
    assert getattr(section, key.removeprefix("compare.")) == (value or text)


def test_places_reach_the_configuration_as_typed():
    odd = "~/张三 (1)/lr=0.1 #2/$x"
    pool = f"data.pool=[{{store: {odd}, clips: {{}}, weight: 1}}]"
    config = load([f"output={odd}, {{y}}", f"data.store={odd}", f"data.raw=[{odd},b]", pool])
    assert config.output == f"{odd}, {{y}}"
    assert config.data.store == config.data.pool[0].store == odd
    assert config.data.raw == [odd, "b"]
    assert load(["output=runs/${name}"]).output == "runs/synthetic"
    assert load(["output=runs/\\${name}"]).output == "runs/${name}"


def test_a_directory_of_the_users_own_may_have_any_name(tmp_path):
    own = tmp_path / "张三's conf (1) #2 = [x]"
    (own / "data").mkdir(parents=True)
    (own / "data" / "mine.yaml").write_text("defaults: [nw_ucla, _self_]\ndataset: mine\n")
    assert load(["data=mine", "data.raw=x"], str(own)).data.dataset == "mine"
