"""MSRA10K, photographs with salient objects."""
