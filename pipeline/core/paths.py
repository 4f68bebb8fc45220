"""The paths of the checkout and of the configuration files in it."""

from pathlib import Path

# The directory that holds `pipeline/`, `models/` and `conf/`.
ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
