"""The clips that a card shows are varied, and the body whose joints it names is clear."""

import numpy as np

from pipeline.card.samples import CROWDED_SAMPLES, SAMPLES, choose, clearest
from tests.helpers.planted import index_of, planted


def test_samples_are_of_different_classes_and_two_of_them_crowded(layout):
    clips = planted(layout)
    index = index_of(clips, label=np.arange(len(clips)) % 9)
    chosen = choose(index, seed=1)
    assert len(chosen) == len(set(chosen)) == SAMPLES == len(set(index.label[chosen]))
    assert (index.num_persons[chosen] > 1).sum() >= CROWDED_SAMPLES
    assert (index.num_frames[chosen] >= np.median(index.num_frames)).all()
    np.testing.assert_array_equal(chosen, choose(index, seed=1))
    assert not np.array_equal(chosen, choose(index, seed=2))


def test_the_only_crowded_clips_are_shown_although_they_are_of_one_class(layout):
    clip = planted(layout)["clean-1"]
    clips = {f"{n}": clip for n in range(200)}
    persons = np.where(np.isin(np.arange(200), [90, 150]), 2, 1)
    index = index_of(
        clips, label=np.where(persons == 2, 7, np.arange(200) % 7), num_persons=persons
    )
    for seed in range(5):
        chosen = choose(index, seed)
        assert {90, 150} <= set(chosen) and len(set(index.label[chosen])) == SAMPLES - 1


def test_samples_of_few_clips_are_all_of_them(layout):
    clips = dict(list(planted(layout).items())[:3])
    longer = [
        n
        for n, clip in enumerate(clips.values())
        if len(clip) >= np.median([len(c) for c in clips.values()])
    ]
    assert sorted(choose(index_of(clips), seed=0)) == longer


def test_the_clearest_body_is_whole_and_spread_out(layout):
    clip = planted(layout)["clean-1"][:6].copy()
    clip[:3, 0, :, 0] = 3.0  # seen from the side
    clip[5, 0, 3] = 0
    body = clearest([clip, planted(layout)["short"] * 0])
    assert any(np.array_equal(body, clip[t, 0]) for t in (3, 4))
