"""Building the encoder from the configuration, and reading and writing it as files."""
