"""The stage `ablate`."""
