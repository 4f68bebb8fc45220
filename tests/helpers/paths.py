"""Where the checkout and the data sets beside it lie."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
# Data sets never enter the project: tests that use them skip where they are absent.
SHARED_DATA = ROOT.parent / "shared" / "data"
