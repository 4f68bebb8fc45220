"""Where the checkout lies, and what it ships."""

from pathlib import Path

# The directory that holds `pipeline/`, `models/` and `conf/`.
ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
