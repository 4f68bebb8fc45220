"""Settings that older versions did not have, each with the value that computes what they computed.

A configuration of an older version gets these values (`pipeline.config.upgrade`). The identity of a
run leaves a setting out where it has its value here (`pipeline.config.identity`). So what older
versions recorded stays current, and their output directories go on.

A value here never changes: it says what older versions computed.
"""

from collections.abc import Mapping
from typing import Any

ADDED_LATER: dict[str, Any] = {
    "objective.part_weights.temporal": 1.0,
    "objective.part_weights.spatial": 1.0,
    "objective.part_weights.whole": 1.0,
    "objective.composition.parts": ["whole"],
    "objective.composition.relations.of": "projection",
    "objective.view.parts": ["whole"],
    "objective.alignment.mask_performances": False,
    "objective.targets.kind": "one_hot",
    "objective.targets.own_share": 0.5,
    "objective.targets.temperature": 0.07,
    "objective.targets.perplexity": None,
    "objective.targets.encoder": "current",
    # Only the reader `arrays` has it.
    "data.reader.label_column": "label",
    "train.average.decay": None,
    "train.average.rise": False,
    "train.average.export": True,
}

# A section -> the key that switches it, which switches it off at its value above. Nothing reads the
# other keys of the section then.
SWITCHES = {
    "objective.targets": "objective.targets.kind",
    "train.average": "train.average.decay",
}


def without_added(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return flat settings without those that compute what older versions did.

    Args:
        flat: all settings of a run, see `pipeline.config.identity.flatten`.
    """
    kept = {}
    for key, value in flat.items():
        if key in ADDED_LATER and (value == ADDED_LATER[key] or _is_unread(key, flat)):
            continue
        kept[key] = value
    return kept


def _is_unread(key: str, flat: Mapping[str, Any]) -> bool:
    """True if a setting is of a section that is switched off."""
    for section, switch in SWITCHES.items():
        if key.startswith(f"{section}.") and flat[switch] == ADDED_LATER[switch]:
            return True
    return False
