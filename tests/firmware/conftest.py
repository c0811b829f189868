"""Fixtures: the firmware as a board has it, and the MicroPython it runs in."""

from board_run import flash, micropython

__all__ = ["flash", "micropython"]
