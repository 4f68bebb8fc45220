"""From raw skeleton recordings to a pretrained, measured encoder.

Each stage of a run is a package with a `stage.py`. `docs/architecture.md` has a map of them.
"""

__version__ = "0.1.0"
