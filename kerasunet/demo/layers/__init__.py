"""What the Layers tab is made of."""
