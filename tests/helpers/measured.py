"""What was measured of runs, as tables and comparisons are made of it."""

from dataclasses import dataclass, field
from typing import Any

COSTS = {
    "parameters": 10,
    "gflops": 0.5,
    "pretraining_parameters": 20,
    "pretraining_gflops": 2.0,
}
SETTINGS = {
    "protocol": "cross_view",
    "train_clips": 1020,
    "test_clips": 464,
    "epochs": 24,
    "probe": "p",
}


@dataclass(frozen=True)
class MeasuredRun:
    """A run of a table, and where it comes from."""

    variant: str
    seed: int
    figures: dict[str, Any]
    experiment: str = "small_table"
    command: list[str] = field(default_factory=lambda: ["experiment=small_table"])
    versions: dict[str, str] = field(default_factory=lambda: {"torch": "2"})
    workers: int = 1
    gpu: bool = False
    date: str = "2026-11-26"
    seconds: int = 60
    code_versions: tuple[str, ...] = ("0123456789ab",)
    people: dict[str, dict[str, float]] = field(default_factory=dict)
    plan: Any = None
    stores: tuple[str, ...] = ("of the store",)


def measured(variant: str, seed: int, **figures: Any) -> MeasuredRun:
    """A run with these figures beside those that every run has."""
    start = {"random_linear_top1": 0.5 + seed / 10}
    return MeasuredRun(variant, seed, COSTS | SETTINGS | start | figures)
