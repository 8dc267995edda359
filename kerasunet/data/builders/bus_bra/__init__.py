"""BUS-BRA, breast ultrasound."""
