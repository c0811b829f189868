"""Fixtures: the firmware as a board has it, and the MicroPython it runs in."""

import pytest
from board_run import flash, micropython

__all__ = ["flash", "micropython"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--interpreter", choices=("micropython", "cpython"), default="micropython",
                     help="What runs the scripts of firmware tests; cpython counts the lines of the drivers.")
