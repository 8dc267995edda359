"""Shenzhen, chest X-ray."""
