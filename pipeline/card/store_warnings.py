"""The warnings of a data card: faults of a store as a whole."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.core.console import percent


def store_warnings(card: Mapping[str, Any]) -> Iterator[str]:
    """Yield the faults of a store as a whole, each as a sentence.

    Args:
        card: the values of the card, see `pipeline.card.contents`.
    """
    yield from card["coordinates"]["warnings"]
    posture = card["posture"]
    # Which axis points up does not matter here: turning a body leaves its toes where they are.
    if posture and posture["toes_forward_clips"] < 0.5:
        yield (
            "left and right seem swapped or an axis mirrored: toes point forwards in only "
            f"{percent(posture['toes_forward_clips'], '.0f')} of the clips "
            "(the order of the joints, or data.coordinates.handed)"
        )
    for protocol, sides in card["protocols"].items():
        across = card["copies_across_sides"][protocol]
        if any(across.values()):
            parts = [f"{across[side]} of {clips} {side} clips" for side, clips in sides.items()]
            yield f"{protocol}: exact copies lie on different sides: {', '.join(parts)}"
        for side, clips in sides.items():
            if not clips:
                yield f"{protocol}: no clip on its side {side}"
    empty = [one for one in card["classes"] if not one["clips"]]
    if empty:
        yield f"{len(empty)} of {len(card['classes'])} classes have no clip"
