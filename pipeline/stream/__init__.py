"""From a clip store to the batches of a training worker."""
