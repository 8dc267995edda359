"""JSRT, chest X-ray."""
