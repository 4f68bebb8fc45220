"""The names that users import."""

import sys

import pytest

import skelfuse
from pipeline.encoder import export


def test_the_short_import_is_the_loader():
    assert skelfuse.load_encoder is export.load_encoder
    assert skelfuse.__all__ == ["load_encoder"]


def test_the_old_import_works_for_a_release_and_names_the_new_one(monkeypatch):
    monkeypatch.delitem(sys.modules, "pipeline.export", raising=False)
    with pytest.warns(FutureWarning, match="from skelfuse import load_encoder") as caught:
        from pipeline.export import load_encoder
    assert load_encoder is export.load_encoder
    assert caught[0].filename == __file__
