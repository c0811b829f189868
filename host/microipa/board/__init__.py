"""Boards of the lab: the real MicroPython, without a chip around it."""

from microipa.board.micropython import MicroPythonMissing, find_micropython, run_micropython
from microipa.board.virtual import BoardRunning, VirtualBoard

__all__ = [
    "BoardRunning",
    "MicroPythonMissing",
    "VirtualBoard",
    "find_micropython",
    "run_micropython",
]
