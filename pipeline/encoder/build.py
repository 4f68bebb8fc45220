"""From configuration to what `models` builds: the only place where the two meet."""

import torch

from models import framework
from models.probes import LinearProbe
from models.skeleton import SkeletonLayout
from pipeline.config.schema import Config, Skeleton
from pipeline.core.errors import ConfigError, UserError
from pipeline.ingest.formats import READERS, Reader
from pipeline.ingest.synthetic import require_limits
from pipeline.runs.rundir import RunDir
from pipeline.store.clip_store import ClipStore
from pipeline.store.protocols import Side, mask, parse, parse_terms, sides_of
from pipeline.stream.plan import Part


def layout_of(config: Config) -> SkeletonLayout:
    """The skeleton layout that models see; ConfigError where it is no tree or names unknown joints."""
    return _layout(config.data.seen_skeleton)


def recorded_layout(config: Config) -> SkeletonLayout:
    """The skeleton layout of the recordings and of their store; raises as `layout_of`."""
    return _layout(config.data.skeleton)


def _layout(skeleton: Skeleton) -> SkeletonLayout:
    try:
        return SkeletonLayout.build(**skeleton.model_dump())
    except ValueError as error:
        raise ConfigError(f"data.skeleton: {error}") from None


def reader_of(config: Config) -> Reader:
    """What reads the recordings of the data."""
    options = getattr(config.data, config.data.reader, None)
    values = options.model_dump() if options else {}
    if config.data.reader == "arrays":  # whose table may call classes by name
        values["classes"] = config.data.classes
    return READERS[config.data.reader](**values)


def check_models(config: Config) -> None:
    """Raise ConfigError for settings that models, probes, protocols or the recorder refuse; costs no memory."""
    parse({name: sides.model_dump() for name, sides in config.data.protocols.items()})
    for number, pooled in enumerate(config.data.pool):
        parse_terms(f"data.pool[{number}].clips", pooled.clips)
    recorded_layout(config)
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


def open_store(config: Config, run: RunDir) -> ClipStore:
    """The run's clip store, checked to have the configured skeleton and to be the one that earlier stages worked on.

    Its clips are read as models see them (`data.mapping`). Raises UserError where there is none, it is damaged, or
    another.
    """
    store = ClipStore.open(config.store, recorded_layout(config))
    run.claim("fingerprint", store)
    return store.read_as(layout_of(config), config.data.persons, config.data.mapping)


def open_pool(config: Config, run: RunDir) -> list[Part]:
    """What pretrains: the training side of the run's store, and the clips of `data.pool`.

    Raises UserError for a store that is not there, damaged, another than before, or of a layout that cannot be read,
    and for a pool that holds clips which the run is tested on.
    """
    own, sides = open_store(config, run), sides_of(config.data.protocols, config.data.protocol)
    index = own.index()
    tested = set(index.clip_id[mask(index.columns, sides["test"])])
    parts = [Part(own, sides["train"])]
    for number, pooled in enumerate(config.data.pool):
        store, key = ClipStore.open(pooled.store), f"data.pool[{number}]"
        run.claim(f"pool_{number}", store)
        side = Side(key, "clips", (parse_terms(f"{key}.clips", pooled.clips),))
        pooled_index = store.index()
        shared = tested.intersection(pooled_index.clip_id[mask(pooled_index.columns, side)])
        if shared and store.manifest["dataset"] == own.manifest["dataset"]:
            tested_on = f"{len(shared)} clips of {sides['test']}, on which the run is tested"
            raise UserError(f"{key}: holds {tested_on}, {min(shared)} for one")
        store = store.read_as(layout_of(config), config.data.persons, config.data.mapping)
        parts.append(Part(store, side, pooled.weight))
    return parts


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
