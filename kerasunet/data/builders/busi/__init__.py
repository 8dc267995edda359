"""BUSI, breast ultrasound."""
