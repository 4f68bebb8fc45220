"""From raw skeleton recordings to a pretrained, measured encoder.

`docs/architecture.md` has the map: a stage is a package with a `stage.py`.
"""

__version__ = "0.1.0"
