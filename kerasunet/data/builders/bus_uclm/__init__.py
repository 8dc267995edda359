"""BUS-UCLM, breast ultrasound."""
