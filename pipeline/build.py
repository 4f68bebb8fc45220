"""From configuration to what `models` builds: the only place where the two meet."""

import torch

from models import framework
from models.probes import LinearProbe
from models.skeleton import SkeletonLayout
from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.protocols import Side, parse
from pipeline.rundir import RunDir
from pipeline.store import ClipStore
from pipeline.synthetic import require_limits


def layout_of(config: Config) -> SkeletonLayout:
    """The skeleton layout of the data; ConfigError where it is no tree or names unknown joints."""
    try:
        return SkeletonLayout.build(**config.data.skeleton.model_dump())
    except ValueError as error:
        raise ConfigError(f"data.skeleton: {error}") from None


def check_models(config: Config) -> None:
    """Raise ConfigError for settings that models, probes, protocols or the recorder refuse; costs no memory."""
    parse({name: sides.model_dump() for name, sides in config.data.protocols.items()})
    with torch.device("meta"):
        build_framework(config)
    try:
        LinearProbe(**config.evaluate.linear.model_dump())
    except ValueError as error:
        raise ConfigError(f"evaluate.linear: {error}") from None
    if config.data.synthetic:
        try:
            require_limits(**config.data.synthetic.model_dump(exclude={"noise"}))
        except ValueError as error:
            raise ConfigError(f"data.{error}") from None


def sides_of(config: Config) -> dict[str, Side]:
    """The sides `train` and `test` of the configured protocol."""
    name = config.data.protocol
    return parse({name: config.data.protocols[name].model_dump()})[name]


def open_store(config: Config, run: RunDir) -> ClipStore:
    """The run's clip store, checked to have the configured skeleton and to be the one that earlier stages worked on.

    Raises UserError where there is none, it is damaged, or another.
    """
    store = ClipStore.open(config.store, layout_of(config))
    run.claim(store)
    return store


def build_framework(config: Config) -> framework.Framework:
    """The training module, its weights drawn from `config.seed`: the same in every process that builds it.

    Raises ConfigError for settings that do not fit together.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        try:
            return framework.build(
                layout_of(config),
                config.data.persons,
                model=config.model.model_dump(),
                objective=config.objective.model_dump(),
                views=config.views.model_dump(),
                normalise=config.data.normalise.model_dump(),
            )
        except ValueError as error:
            raise ConfigError(f"model or objective: {error}") from None
