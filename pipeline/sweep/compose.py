"""From the settings of a sweep to those of one of its trials."""

from collections.abc import Sequence
from typing import Any

from pipeline.config.compose import Request, load
from pipeline.config.places import settle_places
from pipeline.config.root import Config
from pipeline.config.sweep import Sweep
from pipeline.core import storage
from pipeline.runs.resolved import ResolvedRun
from pipeline.sweep.trial import Trial, trial_name

PRETRAINED = ("pretrain",)
MEASURED = ("pretrain", "evaluate")


def settings_of(config: Config) -> Sweep:
    """Return the section `sweep`, which a run with this stage has."""
    assert config.sweep is not None
    return config.sweep


def compose_trial(
    sweep: ResolvedRun,
    group: str,
    seed: int,
    overrides: Sequence[str],
    *,
    params: dict[str, Any] | None = None,
    stages: Sequence[str] = MEASURED,
) -> Trial:
    """Compose the run of a variant or of a point, with a seed, in a directory of the sweep's.

    Args:
        sweep: the run of the sweep.
        group: the variant or the point.
        seed: of the trial.
        overrides: in which the group differs from the settings of the sweep.
        params: see `Trial.params`.
        stages: of the trial.

    Raises:
        ConfigError: the overrides are wrong.
    """
    name = trial_name(group, seed)
    output = storage.join(sweep.config.output, name)
    own = [
        f"seed={seed}",
        f"name={name}",
        f"stages=[{','.join(stages)}]",
        f"output={output}",
        f"data.store={sweep.config.store}",
        "fresh=false",
        # The criterion takes the place of watching.
        "train.watch.every_epochs=null",
    ]
    criterion = settings_of(sweep.config).criterion
    if criterion is not None:
        # A trial is measured where there is a checkpoint, so that nothing is lost in between.
        own.append(f"train.checkpoint.every_epochs={criterion.every_epochs}")
    request = Request(
        (*sweep.request.overrides, *overrides, *own),
        sweep.request.config_dir,
    )
    config = load(request.overrides, request.config_dir)
    # A trial is no sweep, and is tracked where the sweep is.
    placed = config.model_copy(update={"sweep": None, "tracking": sweep.config.tracking})
    # All places that may be lost lie in those of the sweep, which were checked.
    settled = settle_places(placed, in_job=False)
    return Trial(group, settled, request, list(overrides), params or {})
