"""UDIAT, breast ultrasound."""
