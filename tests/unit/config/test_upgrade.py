"""Configurations of the version before are read as those of this one."""

import pytest
import yaml

from pipeline.config.added_later import ADDED_LATER
from pipeline.config.compose import load
from pipeline.config.identity import identity
from pipeline.config.root import check, to_yaml
from pipeline.config.upgrade import upgraded
from pipeline.core.errors import ConfigError

# The keys that the section `ablate` shared with `sweep`.
FORMER_KEYS = ("published", "seeds", "variants", "only", "splits")


def as_before(config):
    """The plain values of a configuration as the version before wrote them."""
    values = yaml.safe_load(to_yaml(config))
    options = values["data"]["reader"]
    name = options.pop("format")
    values["data"] |= {"reader": name, "pku_mmd": None, "arrays": None}
    if options:
        values["data"][name] = options
    return values


def test_a_reader_with_and_without_options_comes_back():
    for data in ("ntu60", "utkinect", "pku1", "pyskl_ntu60", "ctrgcn_npz"):
        config = load([f"data={data}", "data.raw=somewhere"])
        again = check(as_before(config))
        assert again == config
        assert identity(again) == identity(config)


def test_options_of_another_reader_stay_where_they_are_refused():
    before = {"data": {"reader": "ntu", "arrays": {"table": "clips.csv"}}}
    assert upgraded(before)["data"] == {
        "reader": {"format": "ntu"},
        "arrays": {"table": "clips.csv"},
    }


def test_todays_values_and_no_values_are_left_alone():
    config = load(["data=utkinect", "data.raw=somewhere"])
    values = yaml.safe_load(to_yaml(config))
    assert upgraded(values) is values
    assert upgraded("seed: 0") == "seed: 0"
    assert upgraded({"data": None}) == {"data": None}


def test_a_data_set_of_the_users_own_may_have_the_old_form(tmp_path):
    (tmp_path / "data").mkdir()
    config = load(["data=utkinect", "data.raw=x"])
    data = as_before(config)["data"]
    (tmp_path / "data" / "mine.yaml").write_text(yaml.safe_dump(data))
    assert load(["data=mine"], str(tmp_path)).data.reader == config.data.reader


def test_a_table_of_the_version_before_still_opens():
    config = load(["sweep=ablation_utkinect", "data.raw=x"])
    values = yaml.safe_load(to_yaml(config))
    sweep = values.pop("sweep")
    values["stages"] = ["ablate"]
    values["ablate"] = {key: sweep[key] for key in FORMER_KEYS} | {
        "results": "runs",
        "page": "page.md",
        "command": ["seed=1"],
        "config_dir": None,
    }
    again = check(values)
    assert again == config
    assert (again.stages, again.sweep.reference) == (["ingest", "sweep"], "full")


def test_another_run_of_the_version_before_has_no_table():
    config = load(["data=utkinect", "data.raw=x"])
    values = yaml.safe_load(to_yaml(config))
    del values["sweep"]
    assert check(values | {"ablate": None}) == config


def of_the_version_before(config):
    """The plain values of a configuration without the settings that were added later."""
    values = yaml.safe_load(to_yaml(config))
    for key in ADDED_LATER:
        *sections, name = key.split(".")
        inner = values
        for section in sections:
            inner = inner.get(section, {})
        inner.pop(name, None)
    # Sections that are empty now were added as a whole.
    del values["objective"]["part_weights"], values["objective"]["targets"]
    del values["objective"]["composition"]["relations"], values["train"]["average"]
    return values


@pytest.mark.parametrize("overrides", [["data=utkinect", "data.raw=x"], ["experiment=nw_ucla"]])
def test_settings_that_were_added_later_compute_what_older_versions_did(overrides):
    config = load([*overrides, "data.raw=x"])
    again = check(of_the_version_before(config))
    # What is shipped as the default is what older versions did.
    assert again == config
    assert identity(again) == identity(config)
    assert not identity(config).keys() & ADDED_LATER.keys()


def test_a_section_that_is_missing_as_a_whole_is_named_and_not_filled():
    values = of_the_version_before(load([]))
    del values["objective"]
    with pytest.raises(ConfigError, match=r"^objective: missing$"):
        check(values)
    assert upgraded({"objective": 3, "train": None}) == {"objective": 3, "train": None}
