"""XPIE, photographs with salient objects."""
