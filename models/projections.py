"""What the terms of the loss compare: projections of features, part by part.

Shapes: n clips of this worker, N clips of the global batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from torch import Tensor

from models.distributed import gather_all

# Part of the feature -> tensors [n, output] of this worker, or gathered [N, output].
OfParts = dict[str, list[Tensor]]


@dataclass
class Projections:
    """The tensors that the terms compare.

    Args:
        targets: h_m u_m, the modalities in their order.
        predictions: h_m D_m y, in the same order.
        fused: g y, and g y' where there is a second view.
        guide: k c, where composition compares it.
        features: y, and y' where there is a second view, if relations are compared of them.
    """

    targets: OfParts = field(default_factory=dict)
    predictions: OfParts = field(default_factory=dict)
    fused: OfParts = field(default_factory=dict)
    guide: OfParts = field(default_factory=dict)
    features: OfParts = field(default_factory=dict)

    def projected(self) -> list[tuple[str, Tensor]]:
        """Return each tensor that a projector made, with its part."""
        tensors = []
        for group in (self.targets, self.predictions, self.fused, self.guide):
            tensors.extend(_flat(group))
        return tensors

    def gathered(self, counts: Sequence[int]) -> Projections:
        """Return the projections of the clips of all workers, exchanged at once.

        Args:
            counts: how many clips each worker holds.
        """
        local: list[Tensor] = []
        for group in fields(self):
            local.extend(tensor for _, tensor in _flat(getattr(self, group.name)))
        rows = iter(gather_all(local, counts))
        result = Projections()
        for group in fields(self):
            parts = {}
            for part, tensors in getattr(self, group.name).items():
                parts[part] = [next(rows) for _ in tensors]
            setattr(result, group.name, parts)
        return result


def _flat(group: OfParts) -> list[tuple[str, Tensor]]:
    """Return all tensors of a group, each with its part, part after part."""
    tensors = []
    for part, of_part in group.items():
        for tensor in of_part:
            tensors.append((part, tensor))
    return tensors
