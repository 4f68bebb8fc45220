"""A card counts what is in a store, and warns of what is wrong with it as a whole."""

import numpy as np
import pytest

from pipeline.card.contents import grouped
from tests.helpers.planted import card_of, planted


def test_reasons_are_counted_whatever_their_numbers_and_names():
    rows = [
        ("line 12: 4 fields, expected 12", "b"),
        ("line 7: -1.5e3 fields, expected 12", "a"),
        ("empty file", "c"),
    ]
    rows += [("holds 'x y', not that", "d"), ("holds 'z', not that", "e")]
    assert grouped(rows) == [
        {"reason": "holds ..., not that", "count": 2, "example": "d"},
        {"reason": "line ...: ... fields, expected ...", "count": 2, "example": "a"},
        {"reason": "empty file", "count": 1, "example": "c"},
    ]
    assert grouped([]) == []


def test_copies_on_both_sides_of_a_protocol_are_a_warning(layout):
    clips = planted(layout)
    clips["copy-c"] = clips["clean-3"].copy()
    names = list(clips)
    camera = np.ones(len(clips), int)
    camera[names.index("copy-b")] = 2
    protocols = {
        "view": {"train": {"camera": [1]}, "test": {"camera": [2]}},
        "none": {"train": {}, "test": {"camera": [9]}},
    }
    card = card_of(clips, layout, protocols=protocols, camera=camera)
    assert card["protocols"]["view"] == {"train": len(clips) - 1, "test": 1}
    assert card["copies_across_sides"] == {
        "view": {"train": 1, "test": 1},
        "none": {"train": 0, "test": 0},
    }
    assert card["warnings"] == [
        "view: exact copies lie on different sides: "
        f"1 of {len(clips) - 1} train clips, 1 of 1 test clips",
        "none: no clip on its side test",
    ]


def test_classes_without_clips_are_a_warning_and_a_store_without_labels_is_none(layout):
    clips = planted(layout)
    card = card_of(clips, layout, ["a", "b", "c"], label=np.arange(len(clips)) % 2)
    assert [one["clips"] for one in card["classes"]] == [len(clips) // 2] * 2 + [0]
    assert card["warnings"] == ["1 of 3 classes have no clip"]
    card = card_of(clips, layout, ["a", "b", "c"])
    assert (
        card["classes"] == [{"label": None, "name": "no label", "clips": len(clips)}]
        and not card["warnings"]
    )


@pytest.mark.parametrize(
    ("axis", "warning"), [(1, "stand along -y, not y"), (0, "left and right seem swapped")]
)
def test_a_store_with_wrong_axes_is_a_warning(layout, axis, warning):
    clips = planted(layout)
    assert not card_of(clips, layout)["warnings"]
    for clip in clips.values():
        clip[..., axis] *= -1
    sentences = card_of(clips, layout)["warnings"]
    # A mirror upside down is also a mirror.
    assert warning in sentences[0]
    assert "left and right seem swapped" in sentences[-1]
