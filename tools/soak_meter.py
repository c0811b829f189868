"""Beside main.py of a board in `make soak`: the 2 kB of a product, and what each poll leaves of the heap."""

import gc

from ipa import compat
from ipa.agent import Agent

product = bytearray(2048)
_poll = Agent.poll_once


def largest():
    """Bytes of the largest block that can be had, to 256."""
    low, high = 0, gc.mem_free()
    while high - low > 256:
        middle = (low + high) // 2
        try:
            bytearray(middle)
            low = middle
        except MemoryError:
            high = middle
        gc.collect()
    return low


async def poll_once(self):
    wait = await _poll(self)
    compat.log(compat.INFO, "soak: free", gc.mem_free(), "largest", largest())
    return wait


Agent.poll_once = poll_once
