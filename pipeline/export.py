"""The former module of `load_encoder`. It stays for one more release, with a warning."""

import warnings

from pipeline.encoder.export import load_encoder

__all__ = ["load_encoder"]

warnings.warn(
    "pipeline.export is deprecated and will be removed in the next release: "
    "use `from skelfuse import load_encoder`",
    FutureWarning,
    stacklevel=2,
)
