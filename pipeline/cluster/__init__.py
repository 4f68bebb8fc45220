"""The Ray cluster that a run uses: connecting to it, and asking for room on it."""
