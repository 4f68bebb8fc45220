"""Decoders of the containers and texts that recordings come in."""
