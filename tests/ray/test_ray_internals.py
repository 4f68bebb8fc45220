"""What a new Ray must still answer, where we call what it does not document."""

import pytest

from pipeline.cluster import ray_internals
from pipeline.cluster.ray_internals import free_object_store_bytes

# Other tests put things into the store of the same Ray, between one look and the next.
SAME = 0.25


def test_ray_says_what_each_node_has_left(ray_session):
    by_node = ray_internals._free_by_node()
    assert len(by_node) == len([node for node in ray_session.nodes() if node["Alive"]])
    assert all(free > 0 for free in by_node)
    assert free_object_store_bytes() == pytest.approx(min(by_node), rel=SAME)


def test_without_the_internal_call_the_public_one_serves(ray_session, monkeypatch):
    expected = free_object_store_bytes()
    monkeypatch.setattr(ray_internals, "_free_by_node", list)
    # One node: its share of what the cluster has left is all of it.
    assert free_object_store_bytes() == pytest.approx(expected, rel=SAME)


def test_the_node_with_the_least_decides(monkeypatch):
    monkeypatch.setattr(ray_internals, "_free_by_node", lambda: [5e9, 2e9, 7e9])
    assert free_object_store_bytes() == 2_000_000_000
