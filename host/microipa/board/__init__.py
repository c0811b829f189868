"""Boards of the lab: the real MicroPython, without a chip around it."""

from microipa.board.micropython import MicroPythonMissing, find_micropython, run_micropython

__all__ = ["MicroPythonMissing", "find_micropython", "run_micropython"]
