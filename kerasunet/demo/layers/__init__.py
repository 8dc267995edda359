"""The tab Layers."""
