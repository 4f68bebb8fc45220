"""From configuration to what `models` builds: the only place where the two meet."""

import torch

from models import framework
from models.framework import Framework
from models.skeleton import SkeletonLayout
from pipeline.config.root import Config
from pipeline.config.skeleton import Skeleton
from pipeline.core.errors import ConfigError


def layout_of(skeleton: Skeleton) -> SkeletonLayout:
    """Return a configured skeleton as a layout.

    Raises:
        ConfigError: it is no tree, or names joints that it does not have.
    """
    try:
        return SkeletonLayout.build(**skeleton.model_dump())
    except ValueError as error:
        raise ConfigError(f"data.skeleton: {error}") from None


def build_framework(config: Config) -> Framework:
    """Build the training module, its weights drawn from `config.seed`.

    The weights are the same in every process that builds it, whatever its random state.

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
            )
        except ValueError as error:
            raise ConfigError(f"model or objective: {error}") from None
