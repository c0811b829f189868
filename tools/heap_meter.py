"""Runs on a board and says how much heap the assistant keeps alive at its fullest moment.

Put it beside main.py and make `import heap_meter` the first line of main.py. It collects garbage and reads
gc.mem_alloc() around every APDU and every datagram, so the figure is what must fit, not what a lazy collector
lets pile up. Each new peak is held; the program's end prints one line:

    I (51234) heap: peak 91232 of 196608 bytes, 60448 of them the loaded code, words of 64 bits

Words of 64 bits: no figure for a chip. What a chip needs is told by a MicroPython with words of 32 bits:
MICROPYTHON=$(make -s micropython32).
TLS memory comes from the C heap there and from this heap on bare-metal ports (`make tls-memory`).
"""

import gc
import sys

from ipa import compat
from ipa.card.channel import Channel

# The romfs of a virtual board lies in its heap, which was made larger by it.
rom = len(sys.modules["vfs"].partition) if "virtual_rom" in sys.modules else 0
peak = 0
loaded = 0


def sample(*_):
    global loaded, peak
    gc.collect()
    if not loaded:  # the first command to the card: everything is imported, nothing has begun
        loaded = gc.mem_alloc() - rom
        watch_network()
    peak = max(peak, gc.mem_alloc() - rom)


def watch(owner, name):
    """Sample before and after each call of an async method."""
    original = getattr(owner, name)

    async def watched(*args, **kwargs):
        sample(0, 0, 0, 0, 0, 0, 0, 0)
        result = await original(*args, **kwargs)
        # The zeros lie over what this frame's stack still holds: a coroutine that has ended, and its last datagram.
        sample(0, 0, 0, 0, 0, 0, 0, 0)
        return result

    setattr(owner, name, watched)


def watch_network():
    """The channel that the settings chose; the other is not loaded."""
    for module, owner, names in (
        ("ipa.net.dtls", "Dtls", ("send", "recv")),
        ("ipa.net.modem_dtls", "ModemDtls", ("send", "recv")),
        ("ipa.net.https", "_Channel", ("flush", "_receive")),
    ):
        if module in sys.modules:
            for name in names:
                watch(getattr(sys.modules[module], owner), name)


def report():
    total = gc.mem_alloc() + gc.mem_free() - rom
    compat.log(compat.INFO, "heap: peak", peak, "of", total, "bytes,", loaded, "of them the loaded code, words of",
                32 if sys.maxsize < 1 << 32 else 64, "bits")


watch(Channel, "_command")
if hasattr(sys, "atexit"):
    sys.atexit(report)
