from dataclasses import replace

import pytest
import torch

from pipeline.core.errors import ConfigError, UserError
from pipeline.stream.cache_choice import StreamSize, choose_cache, choose_on_device

SIZE = StreamSize(clips=210, bytes=100_000)
MEMORY = choose_cache("memory", SIZE, 10**9)


def test_auto_chooses_by_the_object_store():
    fits = choose_cache("auto", SIZE, int(SIZE.bytes / 0.59))
    assert (fits.cache, fits.automatic) == ("memory", True)
    assert "210 clips of 0.1 MB fit 60% of" in fits.description
    exceeds = choose_cache("auto", SIZE, int(SIZE.bytes / 0.61))
    assert (exceeds.cache, exceeds.automatic) == ("none", True)
    assert "exceed 60%" in exceeds.description
    with pytest.raises(ConfigError, match=r"stream\.cache=memory: .* exceed the smallest node's"):
        choose_cache("memory", SIZE, SIZE.bytes - 1)
    assert choose_cache("none", SIZE, 0).cache == "none"
    assert (
        "210 clips of 2 stores of" in choose_cache("none", replace(SIZE, stores=2), 0).description
    )


def test_auto_moves_to_a_gpu_with_room(monkeypatch):
    automatic = replace(MEMORY, automatic=True)
    gpu = torch.device("cuda", 0)
    for free, cache in ((SIZE.bytes / 0.29, "device"), (SIZE.bytes / 0.31, "memory")):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (int(free), 10**12))
        chosen = choose_on_device(automatic, SIZE, gpu)
        assert chosen.cache == cache and "30% of the GPU" in chosen.description
    assert choose_on_device(automatic, SIZE, torch.device("cpu")).cache == "memory"
    assert choose_on_device(MEMORY, SIZE, gpu).cache == "memory"
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (SIZE.bytes - 1, 10**12))
    with pytest.raises(UserError, match=r"stream\.cache=device: .* do not fit"):
        choose_on_device(choose_cache("device", SIZE, 10**9), SIZE, gpu)


def test_on_a_shared_gpu_no_more_than_the_share_is_taken(monkeypatch):
    """Whoever comes first finds all of it free; whoever comes last, what is left."""
    automatic = replace(MEMORY, automatic=True)
    gpu = torch.device("cuda", 0)

    def cache(total, free, share):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (int(free), int(total)))
        return choose_on_device(automatic, SIZE, gpu, share).cache

    needed = SIZE.bytes / 0.3
    assert cache(4.1 * needed, free=4.1 * needed, share=0.25) == "device"
    assert cache(3.9 * needed, free=3.9 * needed, share=0.25) == "memory"
    assert cache(4.1 * needed, free=0.9 * needed, share=0.25) == "memory"
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (SIZE.bytes, SIZE.bytes))
    with pytest.raises(UserError, match=r"stream\.cache=device: .* do not fit"):
        choose_on_device(choose_cache("device", SIZE, 10**9), SIZE, gpu, 0.5)
