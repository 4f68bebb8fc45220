"""From raw recordings to a clip store."""
