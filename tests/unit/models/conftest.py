"""What the tests of the models share: the shipped skeletons and random clips."""

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
import yaml

from models.clips import ClipBatch
from models.skeleton import SkeletonLayout
from tests.helpers import paths

CONF = paths.CONF / "skeleton"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """What is tiny is not worth a second thread, least of all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def kinect_v1() -> SkeletonLayout:
    return SkeletonLayout.build(**yaml.safe_load((CONF / "kinect_v1.yaml").read_text()))


@pytest.fixture(scope="session")
def kinect_v2() -> SkeletonLayout:
    return SkeletonLayout.build(**yaml.safe_load((CONF / "kinect_v2.yaml").read_text()))


@pytest.fixture(scope="session")
def make_clips() -> Callable[..., ClipBatch]:
    """make_clips(lengths, persons, joints, seed): clips of normal coordinates around (0, 0, 3), ids
    100, 101, ...
    """

    def make(
        lengths: Sequence[int], persons: int = 1, joints: int = 20, seed: int = 0
    ) -> ClipBatch:
        frames = torch.randn(
            sum(lengths), persons, joints, 3, generator=torch.Generator().manual_seed(seed)
        )
        count = len(lengths)
        return ClipBatch(
            frames=frames + torch.tensor([0.0, 0.0, 3.0]),
            offsets=torch.tensor([0, *lengths]).cumsum(0),
            ids=torch.arange(100, 100 + count),
            labels=torch.full((count,), -1),
        )

    return make


@pytest.fixture(scope="session")
def pick() -> Callable[[ClipBatch, Sequence[int]], ClipBatch]:
    """pick(clips, order): the batch of those clips, in that order."""

    def picked(clips: ClipBatch, order: Sequence[int]) -> ClipBatch:
        parts = [clips.frames[clips.offsets[i] : clips.offsets[i + 1]] for i in order]
        offsets = torch.tensor([0, *(len(part) for part in parts)]).cumsum(0)
        return ClipBatch(
            torch.cat(parts), offsets, clips.ids[list(order)], clips.labels[list(order)]
        )

    return picked
