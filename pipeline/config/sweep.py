"""The section `sweep`: many runs that differ in some settings, as a table or as a search.

A **table** has named variants. A **search** has a space: a range for each setting that is searched,
and values of all of them are a **point**. Either way each of these is run with every seed, and one
run of them is a **trial**.
"""

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.config.section import Count, Place, Section
from pipeline.config.verdict import Verdict
from pipeline.core.arithmetic import ceil_div

Seed = Annotated[int, Field(ge=0, lt=2**31)]
VariantName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$")]
Number = Annotated[float, Field(ge=-1e12, le=1e12)]
Integer = Annotated[int, Field(ge=-(10**12), le=10**12)]
# What one value of a choice may be: a number, a name, true or false, null, or a list of these.
ChoiceValue = bool | int | float | str | None | list[bool | int | float | str | None]
# The keys of a range; each says how values are drawn from it.
KINDS = ("log_uniform", "uniform", "integer", "choice")
RANGES = "log_uniform: [LOW, HIGH], uniform: [LOW, HIGH], integer: [LOW, HIGH] or choice: [...]"
# So many points or trials take weeks.
MOST_TRIALS = 10_000


class Range(Section):
    """The values that one setting may take. Exactly one of the keys is given.

    Attributes:
        log_uniform: [low, high], both above 0: numbers whose logarithm is drawn evenly.
        uniform: [low, high]: numbers that are drawn evenly.
        integer: [low, high]: whole numbers, both ends included.
        choice: a list of values.
    """

    log_uniform: Annotated[list[Number], Field(min_length=2, max_length=2)] | None = None
    uniform: Annotated[list[Number], Field(min_length=2, max_length=2)] | None = None
    integer: Annotated[list[Integer], Field(min_length=2, max_length=2)] | None = None
    choice: Annotated[list[ChoiceValue], Field(min_length=1, max_length=1000)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _require_one_kind(cls, values: Any) -> Any:
        given = []
        if isinstance(values, dict):
            given = [kind for kind in KINDS if values.get(kind) is not None]
        if len(given) != 1:
            # A ValueError would be shown without the value.
            raise PydanticCustomError(
                "range", "a range is {kinds}, and one of them only", {"kinds": RANGES}
            )
        return values

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.choice is not None:
            self._require_different(self.choice)
            return self
        low, high = self.ends
        if low >= high:
            raise ValueError(f"{self.kind}=[{low}, {high}]: the first must be below the second")
        if self.log_uniform is not None and low <= 0:
            raise ValueError(f"log_uniform=[{low}, {high}]: both must be above 0")
        return self

    def _require_different(self, values: list[ChoiceValue]) -> None:
        # True equals 1 in Python, but not in JSON.
        texts = [json.dumps(value) for value in values]
        for text in texts:
            if texts.count(text) > 1:
                raise ValueError(f"choice: has {text} twice")

    @property
    def kind(self) -> str:
        """The key that is given, one of KINDS."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value of a range of numbers."""
        low, high = self.log_uniform or self.uniform or self.integer or (0, 0)
        return low, high

    @property
    def values(self) -> list[Any] | None:
        """All values, None if they are without number."""
        if self.choice is not None:
            return list(self.choice)
        if self.integer is not None:
            low, high = self.integer
            return list(range(low, high + 1))
        return None

    @property
    def size(self) -> int | None:
        """The number of values, None if they are without number."""
        if self.choice is not None:
            return len(self.choice)
        if self.integer is not None:
            low, high = self.integer
            return high + 1 - low
        return None

    @property
    def corners(self) -> list[Any]:
        """The lowest and the highest value, or each value of a choice."""
        if self.choice is not None:
            return list(self.choice)
        if self.integer is not None:
            return list(self.integer)
        return [float(end) for end in self.ends]


class Criterion(Section):
    """By what the points of a search are compared.

    Attributes:
        metric: a name in `pipeline.runs.metric_names.CRITERIA`.
        protocol: a protocol of the data whose both sides lie in the training side of
            `data.protocol`: trials train on its training side, and are measured on its test side.
            None: `held_out` of the people of the training side are drawn instead.
        held_out: the share of the people who are held out, if `protocol` is None.
        every_epochs: how often a trial is measured while it trains; at the end in any case.
        max_clips: clips of each side that are measured, at most.
    """

    metric: str
    protocol: str | None = None
    held_out: Annotated[float, Field(gt=0, lt=1)]
    every_epochs: Count
    max_clips: Annotated[int, Field(ge=8, le=10**6)]


class Scheduler(Section):
    """When trials of a search are stopped before their last epoch.

    Attributes:
        name: none: never. asha: at every rung (`grace_epochs`, times `reduction`, and so on) only
            the best 1/`reduction` of the trials that came so far go on. median: a trial is stopped
            if its best value is worse than the median of the others' means.
        grace_epochs: no trial is stopped before it.
        reduction: see `asha`.
    """

    name: Literal["none", "asha", "median"]
    grace_epochs: Count
    reduction: Annotated[float, Field(gt=1, le=100)]


class Sweep(Section):
    """Many runs. `variants` makes a table of them, `space` a search.

    Attributes:
        seeds: every variant or point is run with each of them.
        concurrent: how many trials run at the same time, at most; None: as many as there is room.
        gpu_share: the part of a GPU that a trial gets, if trials have one worker with a GPU.
        variants: name -> the overrides of a variant. A file that builds on another one removes a
            variant of that one by setting it to null.
        only: the variants whose trials are run, None for all. The table still shows the records of
            all variants.
        splits: protocols that take turns from seed to seed, so that a mean is also over splits.
            With None all trials use `data.protocol`.

            seeds: [0, 1, 2, 3], splits: [a, b]  ->  seed 0: a, 1: b, 2: a, 3: b
        published: files of published records, relative to the checkout. The run reads them and
            never writes them. A trial with a current record in one of them is not run again. The
            first file belongs to this table.
        verdict: which variant of the table is judged by its test people; None: none is.
        space: the key of a setting, or the name of a group such as `views` -> its range.
        search: how points are chosen; a search needs it. grid: all combinations. random: each
            drawn by itself. tpe: Optuna's TPE, which draws where earlier points were good.
        trials: how many trials a search has in all; with several seeds a multiple of their number.
            A grid has all combinations, and leaves it out.
        criterion: by what points are compared; a search needs it.
        scheduler: when trials are stopped early.
        confirm: how many seeds the winner is run with afterwards, beside the settings that the
            sweep began with, and measured on the test side; 0: none.
    """

    seeds: Annotated[list[Seed], Field(min_length=1)]
    concurrent: Count | None = None
    gpu_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    # A table.
    variants: Annotated[dict[VariantName, list[str]], Field(min_length=1)] | None = None
    only: list[str] | None = None
    splits: Annotated[list[str], Field(min_length=1)] | None = None
    published: list[Place] = Field(default_factory=list)
    verdict: Verdict | None = None
    # A search.
    space: Annotated[dict[str, Range], Field(min_length=1)] | None = None
    search: Literal["grid", "random", "tpe"] | None = None
    trials: Annotated[int, Field(ge=1, le=MOST_TRIALS)] | None = None
    criterion: Criterion | None = None
    scheduler: Scheduler | None = None
    confirm: Annotated[int, Field(ge=0, le=1000)] = 0

    @field_validator("variants", mode="before")
    @classmethod
    def _leave_out_null(cls, variants: Any) -> Any:
        if not isinstance(variants, dict):
            return variants
        return {name: overrides for name, overrides in variants.items() if overrides is not None}

    @field_validator("space", mode="before")
    @classmethod
    def _flatten(cls, space: Any) -> Any:
        """Join the keys of a nested space: it is written like the configuration itself."""
        if not isinstance(space, dict):
            return space
        return dict(_ranges(space, ""))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.variants is None) == (self.space is None):
            raise ValueError("space: give either a space to search, or the variants of a table")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds={self.seeds}: each seed only once")
        if self.space is None:
            self._check_table()
        else:
            self._check_search(self.space)
        return self

    def _check_table(self) -> None:
        """Refuse what only a search has, and a table that cannot be made."""
        given = {
            "search": self.search,
            "trials": self.trials,
            "criterion": self.criterion,
            "scheduler": self.scheduler,
            "confirm": self.confirm or None,
        }
        for key, value in given.items():
            if value is not None:
                raise ValueError(f"{key}: only a search has it, and this is a table (variants)")
        variants = self.variants or {}
        for name in self.only or []:
            if name not in variants:
                known = ", ".join(variants)
                raise ValueError(f"only: no variant {name}; the variants are: {known}")
        if "random" in variants:
            raise ValueError(
                "variants.random: this name is taken by the encoders before training, "
                "which every table shows"
            )
        if self.verdict is not None:
            self.verdict.require_variants(variants)

    def _check_search(self, space: dict[str, Range]) -> None:
        """Refuse what only a table has, and a search that cannot be made."""
        given = {
            "only": self.only,
            "splits": self.splits,
            "published": self.published or None,
            "verdict": self.verdict,
        }
        for key, value in given.items():
            if value is not None:
                raise ValueError(f"{key}: only a table has it, and this is a search (space)")
        if self.search is None:
            raise ValueError("search: missing; one of grid, random and tpe")
        if self.criterion is None:
            raise ValueError("criterion: missing; points are compared by it")
        if self.search == "grid":
            self._check_grid(space)
        else:
            self._check_trials()

    def _check_grid(self, space: dict[str, Range]) -> None:
        for key, values in space.items():
            if values.size is None:
                low, high = values.ends
                raise ValueError(
                    f"space.{key}.{values.kind}: has values without number, and a grid takes all; "
                    f"write choice: [{low}, ..., {high}], or search=tpe"
                )
        if self.trials is not None:
            raise ValueError(
                f"trials={self.trials}: a grid has all combinations of its values; "
                "leave it out, or take search=random"
            )
        trials = (self.combinations or 0) * len(self.seeds)
        if trials > MOST_TRIALS:
            raise ValueError(
                f"space: its grid with {len(self.seeds)} seeds has {trials:,} trials, at most "
                f"{MOST_TRIALS:,} are made; take search=tpe or random, with a number of trials"
            )

    def _check_trials(self) -> None:
        seeds = len(self.seeds)
        if self.trials is None:
            raise ValueError(f"trials: missing; search={self.search} needs a number of trials")
        if self.trials % seeds:
            raise ValueError(
                f"trials={self.trials}: must be a multiple of {seeds}, because every point is run "
                f"with {seeds} seeds (sweep.seeds)"
            )
        combinations = self.combinations
        if combinations is not None and self.trials > combinations * seeds:
            raise ValueError(
                f"trials={self.trials}: the space has {combinations} points, which are "
                f"{combinations * seeds} trials; take no more, or search=grid"
            )

    @property
    def combinations(self) -> int | None:
        """The number of points in the space of a search, None if they are without number."""
        sizes = []
        for values in (self.space or {}).values():
            if values.size is None:
                return None
            sizes.append(values.size)
        return math.prod(sizes)

    @property
    def points(self) -> int:
        """How many points a search has in all."""
        if self.trials is not None:
            return self.trials // len(self.seeds)
        return self.combinations or 0

    @property
    def is_search(self) -> bool:
        """True if points are searched, False if the variants of a table are run."""
        return self.space is not None

    @property
    def first_stop(self) -> int | None:
        """The epoch after which a scheduler may stop a trial for the first time, None for never."""
        if self.scheduler is None or self.criterion is None or self.scheduler.name == "none":
            return None
        every = self.criterion.every_epochs
        return ceil_div(self.scheduler.grace_epochs, every) * every

    @property
    def reference(self) -> str:
        """The variant of a table that the others are compared with: the first."""
        return next(iter(self.variants or {}))


def _ranges(values: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    """Return (key, range) of a nested space; a range is what a mapping has for keys in KINDS.

    Example: `{"train": {"optimiser": {"lr": {"uniform": [0, 1]}}}}` becomes
    `[("train.optimiser.lr", {"uniform": [0, 1]})]`.
    """
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if value is None:
            # A file that builds on another one takes a key out of its space.
            continue
        if not isinstance(value, dict):
            found.append((name, value))
            continue
        # A group may have a range of its own, and further keys in it.
        own = {kind: value[kind] for kind in value if kind in KINDS}
        if own:
            found.append((name, own))
        inner = {part: value[part] for part in value if part not in KINDS}
        found.extend(_ranges(inner, f"{name}."))
    return found
