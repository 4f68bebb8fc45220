"""The section `compare`: which runs of MLflow the stage `compare` puts side by side."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from pipeline.config.section import Name, Section

# A run of MLflow is named by 32 hexadecimal digits; other tracking stores may have other names.
RUN_ID = r"[A-Za-z0-9_-]{1,64}"
RunId = Annotated[str, Field(pattern=f"^{RUN_ID}$")]
# Longer filters are a slip of the keyboard.
Filter = Annotated[str, Field(min_length=1, max_length=6000)]
CURVES = (
    "loss",
    "held_out/linear_top1",
    "held_out/knn_top1",
    "held_out/retrieval_map",
    "held_out/effective_rank",
    "watch/linear_top1",
    "watch/knn_top1",
    "watch/retrieval_map",
)


class Compare(Section):
    """The runs of a comparison, of those in `tracking.uri`. All conditions must hold.

    Attributes:
        experiment: the name of their MLflow experiment. None: that of `tracking.experiment`, or
            any if `runs` or `sweep` name the runs.
        filter: a filter of MLflow's.
        runs: their ids.
        sweep: the id of the MLflow run of a sweep: its trials.
        figure: by which they are compared first, such as `linear_top1`; None: the one that matters
            most.
        curves: the metrics over time that are drawn, as far as runs have them.
        files: what is written beside the page.
    """

    experiment: Name | None = None
    filter: Filter | None = None
    runs: list[RunId] = Field(default_factory=list, max_length=10_000)
    sweep: RunId | None = None
    figure: Name | None = None
    curves: list[Name] = Field(default=list(CURVES), max_length=100)
    files: list[Literal["csv", "parquet"]] = Field(default=["csv", "parquet"])

    @model_validator(mode="after")
    def _check_runs(self) -> Self:
        if len(set(self.runs)) < len(self.runs):
            raise ValueError("runs: each run only once")
        if self.runs and self.sweep is not None:
            raise ValueError("runs: name either single runs, or the sweep that they are trials of")
        return self


def without_unread(values: Any) -> Any:
    """Return the values of a configuration without the section, unless the stage reads it.

    Other runs do not have these settings, and so MLflow does not show them.

    Raises:
        ValueError: the section is set, and no stage reads it.
    """
    if not isinstance(values, dict) or not isinstance(values.get("compare"), dict):
        return values
    stages = values.get("stages")
    if isinstance(stages, list) and "compare" in stages:
        return values
    try:
        section = Compare.model_validate(values["compare"])
    except ValidationError:
        # The check that follows names the key.
        return values
    if section != Compare():
        raise ValueError("compare: only the stage compare reads it; write stages=[compare]")
    return {key: value for key, value in values.items() if key != "compare"}
