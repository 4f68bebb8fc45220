"""Runs as stages receive them, without a command line."""

from pipeline.config.compose import Request, load
from pipeline.config.root import Config
from pipeline.runs.directory import RunDirectory
from pipeline.runs.resolved import ResolvedRun, resolve


def resolved(config: Config) -> ResolvedRun:
    """Resolve a run of a configuration, in its output directory, which need not exist."""
    return resolve(config, Request(), RunDirectory(config.output))


def resolved_from(*overrides: str, config_dir: str | None = None) -> ResolvedRun:
    """Resolve a run as the command line would ask for it."""
    config = load(overrides, config_dir)
    return resolve(config, Request(overrides, config_dir), RunDirectory(config.output))
