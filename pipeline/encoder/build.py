"""Building the training module from the configuration.

`models` knows nothing of the configuration. This module passes it plain values.
"""

import torch

from models import framework
from models.framework import Framework
from models.skeleton import SkeletonLayout
from pipeline.config.root import Config
from pipeline.config.skeleton import Skeleton
from pipeline.core.errors import ConfigError


def layout_of(skeleton: Skeleton) -> SkeletonLayout:
    """Return the layout of a configured skeleton.

    Raises:
        ConfigError: the joints do not form a tree, or a setting names an unknown joint.
    """
    try:
        return SkeletonLayout.build(**skeleton.model_dump())
    except ValueError as error:
        raise ConfigError(f"data.skeleton: {error}") from None


def build_framework(config: Config) -> Framework:
    """Build the training module with initial weights from `config.seed`.

    All processes get the same weights, whatever their random state is. That state does not change.

    Raises:
        ConfigError: the settings do not fit together.
    """
    layout = layout_of(config.data.seen_skeleton)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        try:
            return framework.build(
                layout,
                config.data.persons,
                model=config.model.model_dump(),
                objective=config.objective.model_dump(),
                views=config.views.model_dump(),
                normalise=config.data.normalise.model_dump(),
                average=config.train.average.decay is not None,
                export_average=config.train.average.is_exported,
            )
        except ValueError as error:
            raise ConfigError(f"model or objective: {error}") from None
