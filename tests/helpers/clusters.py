"""Made-up features of labelled clips."""

import torch
from torch import Tensor


def clusters(
    count: int, width: int = 12, spread: float = 1.0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Features [N, D] around one centre per label; labels have gaps, so that a label is not its
    index.
    """
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(4, width, generator=torch.Generator().manual_seed(99))
    index = torch.randint(4, (count,), generator=generator)
    features = centres[index] + spread * torch.randn(count, width, generator=generator)
    return features, torch.tensor([3, 7, 8, 40])[index]
