"""ECSSD, photographs with salient objects."""
