"""OASBUD, breast ultrasound."""
