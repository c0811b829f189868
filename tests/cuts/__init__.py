"""The power-cut matrix: `make cuts` cuts the power at every step of several flows, and each must end right."""
