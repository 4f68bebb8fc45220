"""Small encoders for NW-UCLA's layout, exported as a run exports them."""

from pipeline.config.compose import load
from pipeline.config.root import Config
from pipeline.encoder.build import build_framework
from pipeline.encoder.export import export_encoder
from pipeline.store.clip_store import ClipStore
from pipeline.store.protocols import parse
from pipeline.store.splits import Split

SMALL = (
    "data=nw_ucla",
    "model.width=16",
    "model.heads=2",
    "model.feedforward=24",
    "model.frames=8",
)


def small_config(folder, *overrides: str) -> Config:
    """A run of a small encoder on `folder/store`, whose output is `folder/run`."""
    places = (f"data.store={folder}/store", f"output={folder}/run", "evaluate.batch_size=17")
    return load([*SMALL, *places, "seed=3", *overrides])


def export_both(folder, config: Config, trained_seed: int = 0) -> dict[str, str]:
    """Export an `encoder` and its `random` start into `folder`; returns name -> location.

    The encoder is not trained: it starts from another seed.
    """
    encoders = {"encoder": f"{folder}/encoder", "random": f"{folder}/random"}
    for name, seed in (("encoder", trained_seed), ("random", config.seed)):
        framework = build_framework(config.model_copy(update={"seed": seed}))
        export_encoder(encoders[name], framework.backbone, config)
    return encoders


def split_of(store: ClipStore, sides: dict) -> Split:
    """The clips on two sides of a store."""
    return Split.of(store, parse({"p": sides})["p"])
