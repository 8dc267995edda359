"""DUTS, photographs with salient objects."""
