"""The Ray that a run works on."""
