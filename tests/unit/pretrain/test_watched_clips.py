"""Which clips are measured while training goes on."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pretrain.watched_clips import choose, held_out


class Index:
    """Random columns of a store."""

    def __init__(self, clips, seed, people=10, labels=4):
        random = np.random.default_rng(seed)
        self.subject = random.integers(1, people + 1, clips) if people else np.full(clips, -1)
        self.performance_id = np.array(
            [f"p{n}" for n in random.integers(0, max(1, clips // 3), clips)]
        )
        self.label = random.integers(-1, labels, clips)


@given(
    st.integers(1, 200),
    st.integers(0, 99),
    st.sampled_from([0, 1, 2, 10]),
    st.integers(2, 250),
    st.floats(0.05, 0.95),
)
def test_gallery_and_queries_share_no_person_and_no_performance(clips, seed, people, most, share):
    index = Index(clips, seed, people)
    ids = np.flatnonzero(np.random.default_rng(seed).random(clips) < 0.8)
    gallery, queries = choose(index, ids, share, most, seed)
    both = np.concatenate([gallery, queries])
    assert (
        set(both) <= set(ids)
        and len(set(both)) == len(both) <= most
        and (index.label[both] >= 0).all()
    )
    group = index.subject if len(np.unique(index.subject[both])) > 1 else index.performance_id
    assert not set(group[gallery]) & set(group[queries])
    assert set(index.label[queries]) <= set(index.label[gallery])
    assert all(
        np.array_equal(a, b)
        for a, b in zip((gallery, queries), choose(index, ids, share, most, seed), strict=True)
    )


@given(st.integers(2, 40), st.integers(0, 99), st.floats(0.01, 0.99))
def test_a_share_of_the_groups_is_held_out_by_seed_whatever_the_order(groups, seed, share):
    names = np.repeat(np.arange(groups), 3)
    held = held_out(names, share, seed)
    assert held.sum() == 3 * min(max(1, round(share * groups)), groups - 1)
    order = np.random.default_rng(seed).permutation(len(names))
    assert np.array_equal(held_out(names[order], share, seed), held[order])


def test_the_seed_decides_who_is_held_out():
    names = np.arange(40)
    assert not np.array_equal(held_out(names, 0.3, 0), held_out(names, 0.3, 1))
