"""From configuration to encoder, and the encoder on disk."""
