"""Load a pretrained encoder and compute features with it.

Example:
    >>> from skelfuse import load_encoder
    >>> encoder, prepare = load_encoder("outputs/nw_ucla/encoder")
    >>> clips = [recording]  # float arrays [frames, persons, joints, 3] in metres, of any length
    >>> features = encoder.features(prepare(clips))
    >>> features.shape  # a row a clip: [clips, encoder.feature_width]

Loading executes nothing from the exported files and starts no Ray.
"""

from pipeline.encoder.export import load_encoder

__all__ = ["load_encoder"]
