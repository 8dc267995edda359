"""Saved models at work: one model, several side by side, other engines, other formats."""
