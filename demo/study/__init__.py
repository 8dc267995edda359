"""What the Study tab is made of."""
