"""The rules find what is wrong with clips, name it, and leave what is right alone."""

import numpy as np

from pipeline.card.findings import RULES, find
from tests.helpers.planted import FPS, PLANTED, index_of, planted, together


def test_every_defect_is_found_and_named_and_nothing_else(layout):
    clips = planted(layout)
    names = list(clips)
    found = find(together(clips, layout), index_of(clips), layout, FPS)
    assert list(found) == list(RULES)
    told = {name: {} for name in names}
    for kind, findings in found.items():
        for finding in findings:
            assert kind not in told[names[finding.clip]]
            told[names[finding.clip]][kind] = finding.text
    assert {name: set(kinds) for name, kinds in told.items() if kinds} == {
        n: set(kinds) for n, kinds in PLANTED.items()
    }
    for name, kinds in PLANTED.items():
        for kind, text in kinds.items():
            assert text in told[name][kind], (name, kind, told[name][kind])


def test_the_worst_comes_first(layout):
    clips = planted(layout)
    clips["worse"] = clips["jump"].copy()
    clips["worse"][15, 0, 3, 0] += 5
    found = find(together(clips, layout), index_of(clips), layout, FPS)["jump"]
    assert list(clips)[found[0].clip] == "worse" and found[0].score > found[1].score > 20


def test_people_of_different_size_are_no_outliers_and_centimetres_are(layout):
    clips = planted(layout)
    clean = {name: clip for name, clip in clips.items() if name.startswith("clean")}
    clean |= {
        "child": clean["clean-1"] * np.float32(0.72),
        "centimetres": clean["clean-2"] * np.float32(100),
    }
    found = find(together(clean, layout), index_of(clean), layout, FPS)["bone_length"]
    assert [list(clean)[finding.clip] for finding in found] == ["centimetres"]


def test_among_equal_bodies_a_smaller_one_is_no_outlier_until_it_is_much_smaller(layout):
    clean = planted(layout)["clean-1"][:, :1]
    clips = {f"same-{n}": clean + np.float32(n / 10) for n in range(20)}
    clips |= {"three-quarters": clean * np.float32(0.75), "half": clean * np.float32(0.5)}
    found = find(together(clips, layout), index_of(clips), layout, FPS)["bone_length"]
    assert [list(clips)[finding.clip] for finding in found] == ["half"]


def test_a_store_of_one_clip_can_be_looked_at(layout):
    clips = {"only": planted(layout)["clean-0"]}
    assert not any(find(together(clips, layout), index_of(clips), layout, FPS).values())
