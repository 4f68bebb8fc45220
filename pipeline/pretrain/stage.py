"""The stage `pretrain`: Ray Train on the clip stream, followed from the driver; ends with an exported encoder."""

import json
import signal
import threading
import time
from dataclasses import replace
from queue import Empty
from typing import Any

import ray
import ray.train
from ray.exceptions import RayError
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.util.queue import Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from models.cost import cost
from models.monitors import collapsed
from pipeline.cluster.session import bundle
from pipeline.config.schema import Config
from pipeline.core import storage
from pipeline.core.console import Bar, say
from pipeline.core.errors import UserError, first_line
from pipeline.encoder import export
from pipeline.encoder.build import build_framework, open_pool
from pipeline.pretrain import checkpoint
from pipeline.pretrain.watch import WAIT_SECONDS, Watch
from pipeline.pretrain.worker import Job, train
from pipeline.runs.rundir import CHECKPOINTS, RunDir
from pipeline.runs.tracking import Tracker
from pipeline.store.protocols import sides_of
from pipeline.store.splits import Split
from pipeline.stream.plan import Part, StreamPlan, open_stream

HISTORY = "metrics.jsonl"


def pretrain(config: Config, run: RunDir, tracker: Tracker) -> dict[str, Any]:
    """Train to the last epoch, from the newest checkpoint in `run` if there is one.

    Returns flat results for the summary. Raises UserError where training cannot go on.
    """
    parts = open_pool(config, run)
    if "evaluate" in config.stages:
        Split.of(
            parts[0].store, sides_of(config.data.protocols, config.data.protocol)
        )  # what evaluation would refuse is refused before hours of training
    for part in parts:
        tracker.dataset(part.store, "pretraining")
    plan = _plan(config, parts, run)
    say(f"  {plan.description}")
    place = run.path(CHECKPOINTS)
    resume = checkpoint.newest(place)
    history = History(run, tracker, checkpoint.load(resume)[1]["history"] if resume else [])
    if resume is None or checkpoint.position(resume).epoch < config.train.epochs:
        if resume:
            say(f"  going on from {storage.name(resume)}")
        begun = checkpoint.position(resume).epoch if resume else 0
        watch = Watch.beside(config, parts[0], plan.cache, begun)
        resume = _fit(config, plan, place, resume, history, watch)
    _export(config, run, resume)
    tracker.artifacts(
        [run.path("encoder", name) for name in (export.CONFIG, export.WEIGHTS)], "encoder"
    )
    return _results(config, history, resume)


def _plan(config: Config, parts: list[Part], run: RunDir) -> StreamPlan:
    """The stream of what pretrains. A continued run keeps the order of clips that it began with, whatever fits now."""
    plan = open_stream(
        parts,
        batch_size=config.train.batch_size // config.train.accumulate,
        seed=config.seed,
        cache=run.state.get("cache", config.stream.cache),
        window=config.stream.window,
        pairs=config.stream.pairs,
        workers=config.cluster.workers,
    )
    run.state["cache"] = plan.cache
    run.save()
    return replace(plan, automatic=config.stream.cache == "auto")


def _fit(
    config: Config,
    plan: StreamPlan,
    place: str,
    resume: str | None,
    history: "History",
    watch: Watch,
) -> str:
    """Run Ray Train and return the final checkpoint's location."""
    checkpoint.prune(place, keep=resume)
    filesystem, path = storage.resolve(place)
    filesystem.create_dir(path, recursive=True)
    # On the driver's node: it lives as long as the run, whatever becomes of the workers' nodes.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    channel = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
    # A name of its own for every attempt: what a killed one was writing is never taken for a checkpoint.
    attempt = f"attempt-{time.strftime('%Y%m%d-%H%M%S')}"
    trainer = TorchTrainer(
        train,
        train_loop_config=Job(config, plan, channel, place, resume),
        scaling_config=ScalingConfig(
            num_workers=config.cluster.workers,
            use_gpu=config.cluster.gpu,
            resources_per_worker=bundle(config.cluster),
        ),
        run_config=RunConfig(
            name=attempt,
            storage_path=path,
            storage_filesystem=filesystem,
            checkpoint_config=CheckpointConfig(num_to_keep=config.train.checkpoint.keep),
            failure_config=FailureConfig(max_failures=config.train.max_failures),
        ),
    )
    updates = -(-plan.epochs.steps // config.train.accumulate) * config.train.epochs
    interrupt = signal.getsignal(signal.SIGINT)
    watched = storage.join(place, attempt)
    with (
        Bar("pretrain", updates) as bar,
        Follower(channel, history, bar, watch, watched) as follower,
    ):
        try:
            trainer.fit()
        except (ray.train.TrainingFailedError, RayError) as error:
            raise UserError(f"training failed: {_cause(error)}") from error
        except SystemExit:  # Ray Train's way to end on Ctrl-C; its handler stays behind.
            raise KeyboardInterrupt from None
        finally:
            signal.signal(signal.SIGINT, interrupt)
    channel.shutdown()
    if follower.failure:
        raise UserError(follower.failure)
    history.send()
    final = checkpoint.newest(place)
    if final is None or checkpoint.position(final).epoch < config.train.epochs:
        raise UserError(f"{place}: training ended without its last checkpoint")
    return final


def _cause(error: Exception) -> str:
    """The first worker's exception in one line; the whole story is in Ray's log of that worker."""
    failures = getattr(error, "worker_failures", None)
    return first_line(next(iter(failures.values()), error) if failures else error)


class History:
    """Every logged row of training: in the run's `metrics.jsonl` and in MLflow.

    watched: step -> figures of that step's checkpoint, which come later than its row. late: rows of those that MLflow
    has not got.
    collapse: when and why features had collapsed at a logged step, the first such one; an MLflow tag, too.
    """

    def __init__(self, run: RunDir, tracker: Tracker, rows: list[dict[str, Any]]):
        """Begins with the rows of the checkpoint that training goes on from, and what `metrics.jsonl` adds to them."""
        self.uri, self.tracker, self.rows = run.path(HISTORY), tracker, []
        self.watched: dict[int, dict[str, float]] = {}
        self.late: list[dict[str, Any]] = []
        self.collapse: str | None = None
        self.tagged = False
        if rows and storage.exists(self.uri):
            self.watched = _watched(storage.read_bytes(self.uri))
        self.extend(rows)
        self.send()

    def extend(self, rows: list[dict[str, Any]]) -> None:
        """Write new rows. Those of steps that came before, from a worker that failed since, are replaced."""
        for row in rows:
            while self.rows and self.rows[-1]["step"] >= row["step"]:
                self.rows.pop()
            self.rows.append(row)
            if self.collapse is None and (reason := collapsed(row)):
                self.collapse = f"step {row['step']}: {reason}"
                say(f"  collapsed at {self.collapse}; training goes on")
        self._write()

    def add(self, step: int, figures: dict[str, float]) -> None:
        """Figures of a step that was logged before; of no use if its row is gone with a worker that failed."""
        if any(row["step"] == step for row in self.rows):
            self.watched[step] = figures
            self.late.append({"step": step, "time": time.time()} | figures)
            self._write()

    def _write(self) -> None:
        rows = [row | self.watched.get(row["step"], {}) for row in self.rows]
        storage.write_bytes(self.uri, "".join(json.dumps(row) + "\n" for row in rows).encode())

    def send(self) -> None:
        """Bring MLflow up to date. Raises UserError where it cannot be reached; the next call sends what is missing."""
        self.tracker.metrics(self.rows)
        if self.late:
            self.tracker.late_metrics(self.late)
            self.late = []
        if self.collapse and not self.tagged:
            self.tracker.results({"collapsed": self.collapse})
            self.tagged = True


def _watched(lines: bytes) -> dict[int, dict[str, float]]:
    """The figures of checkpoints in a `metrics.jsonl`, by step."""
    rows = map(json.loads, lines.decode().splitlines())
    found = {
        row["step"]: {key: value for key, value in row.items() if key.startswith("watch/")}
        for row in rows
    }
    return {step: figures for step, figures in found.items() if figures}


class Follower(threading.Thread):
    """Drains the workers' channel while `fit` blocks: metrics to the history, progress to the console, checkpoints
    (which lie in `place`) to be watched.
    """

    def __init__(self, channel: Queue, history: History, bar: Bar, watch: Watch, place: str):
        super().__init__(daemon=True)
        self.channel, self.history, self.bar, self.watch, self.place = (
            channel,
            history,
            bar,
            watch,
            place,
        )
        self.newest = ""
        self.failure: str | None = None
        self.reached = True
        self.error: Exception | None = None
        self.stopping = threading.Event()

    def __enter__(self) -> "Follower":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stopping.set()
        self.join()
        if kind is None and self.error is None:
            self._watched(WAIT_SECONDS)
        self.watch.close()
        if isinstance(self.error, RayError):
            raise UserError(
                f"training cannot be followed: {first_line(self.error)}"
            ) from self.error
        if self.error:
            raise self.error

    def run(self) -> None:
        try:
            while not self.stopping.wait(0.5):
                self._drain()
            self._drain()
        except Exception as error:  # Raised again in the driver's thread, on leaving.
            self.error = error

    def _send(self) -> None:
        try:
            self.history.send()
            self.reached = True
        except (
            UserError
        ) as error:  # Training does not stop for a tracking server that is away for a while.
            if self.reached:
                say(f"  {error}; metrics are kept and sent later")
            self.reached = False

    def _watched(self, seconds: float = 0) -> None:
        if found := self.watch.poll(seconds):
            step, figures = found
            self.newest = "  ".join(
                f"{name.removeprefix('watch/')} {value:.3f}" for name, value in figures.items()
            )
            self.newest = f"  (step {step}: {self.newest})"
            self.history.add(step, figures)
            self._send()

    def _drain(self) -> None:
        rows = []
        while True:
            try:
                message = self.channel.get_nowait()
            except Empty:
                break
            self.failure = message.get("failed", self.failure)
            if "metrics" in message:
                rows.append(message["metrics"])
            if position := message.get("checkpoint"):
                uri = storage.join(self.place, checkpoint.directory(position.updates))
                self.watch.offer(uri, position.epoch, position.updates)
        if rows:
            self.history.extend(rows)
            self._send()
            last = rows[-1]
            terms = "  ".join(
                f"{name.removeprefix('loss/')} {value:.3f}"
                for name, value in last.items()
                if name.startswith("loss")
            )
            text = f"epoch {last['epoch'] + 1}  {terms}  {last['train/clips_per_second']:.0f} clips/s{self.newest}"
            self.bar.update(last["step"], text=text)
        self._watched()


def _export(config: Config, run: RunDir, final: str) -> None:
    """Write the encoder before and after training: `random/` is exactly what training started from."""
    framework = build_framework(config)
    export.export_encoder(run.path("random"), framework.backbone, config)
    _, state = checkpoint.load(final)
    framework.load_state_dict(state["framework"])
    export.export_encoder(run.path("encoder"), framework.backbone, config)


def _results(config: Config, history: History, final: str) -> dict[str, Any]:
    last = history.rows[-1]
    if history.collapse and not collapsed(last):
        say("  at the last step features are no longer collapsed")
    speeds = sorted(row["train/clips_per_second"] for row in history.rows)
    return {
        "epochs": config.train.epochs,
        "loss": last["loss"],
        "clips_per_second": speeds[len(speeds) // 2],
        "checkpoint": final,
        **({"collapsed": history.collapse} if collapsed(last) else {}),
        **cost(build_framework(config).backbone),
    }
