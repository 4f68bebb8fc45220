"""The configuration of a run: composed from `conf/` and the command line, and checked."""
