"""The clip streams of a sweep: one for all trials that share clips.

Trials that differ in the batch size or the seed alone read the same blocks in the object store.
"""

import json
from dataclasses import replace

from pipeline.runs.directory import RunDirectory
from pipeline.runs.resolved import resolve
from pipeline.stream.plan import StreamPlan, open_stream
from pipeline.sweep.trial import Trial

# What the driver of a trial knows of its stores after it opened them, see `RunState`.
STORES = ("stores", "places", "verified")


class Streams:
    """Plans the stream of each trial, and keeps those that running trials use."""

    def __init__(self) -> None:
        self._plans: dict[str, StreamPlan] = {}
        # A directory whose state has the stores of this stream.
        self._directories: dict[str, RunDirectory] = {}
        # The name of a running trial -> the key of its stream.
        self._users: dict[str, str] = {}

    def open(self, trial: Trial, directory: RunDirectory) -> StreamPlan:
        """Plan the stream of a trial, and note its stores in the state of its directory.

        Raises:
            ConfigError: the cache cannot hold the clips, or pairs cannot be had.
            UserError: a store is missing, damaged, or not the one that the trial began with.
        """
        config = trial.config
        cache = directory.state.cache or config.stream.cache
        key = json.dumps(
            [config.data.model_dump(mode="json"), config.stream.model_dump(mode="json"), cache],
            sort_keys=True,
        )
        batch_size = config.train.batch_size // config.train.accumulate
        if key in self._plans:
            self._note_stores(directory, self._directories[key])
            plan = self._plans[key]
            epochs = replace(plan.epochs, batch_size=batch_size, seed=config.seed)
            plan = replace(plan, epochs=epochs)
        else:
            self._drop_unused()
            run = resolve(config, trial.request, directory)
            plan = open_stream(
                run.pool,
                batch_size=batch_size,
                seed=config.seed,
                cache=cache,
                window=config.stream.window,
                pairs=config.stream.pairs,
                workers=config.cluster.workers,
            )
            self._plans[key] = plan
            self._directories[key] = directory
        plan.epochs.require(config.cluster.workers)
        self._users[trial.name] = key
        # A trial that goes on keeps its cache, because the order of clips depends on it.
        directory.state.cache = plan.cache
        directory.save()
        return plan

    def close(self, name: str) -> None:
        """Note that a trial does not read its stream any more."""
        self._users.pop(name, None)

    def _note_stores(self, directory: RunDirectory, other: RunDirectory) -> None:
        """Note the stores of a stream in a directory, or check that they are the same."""
        for key, fingerprint in other.state.stores.items():
            directory.claim(key, fingerprint, other.state.places[key])
        for name in STORES:
            getattr(directory.state, name).update(getattr(other.state, name))

    def _drop_unused(self) -> None:
        """Let go the blocks that no running trial reads, before others take their room."""
        used = set(self._users.values())
        for key in list(self._plans):
            if key not in used:
                del self._plans[key]
                del self._directories[key]
