"""How much heap the assistant needs, by the form of its code, the protocols it uses and the place of TLS memory.

What is in heap_needed.toml was measured on a 32-bit MicroPython (tools/heap_needed.py, `make heap-needed`).
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from microipa.board.known import Board

Form = Literal["mpy", "romfs", "frozen"]
FORMS: tuple[Form, ...] = ("mpy", "romfs", "frozen")

TLS_IN_HEAP = frozenset({"rp2", "mimxrt", "stm32", "renesas-ra", "alif", "esp32"})
"""Ports on which TLS and the heap share their memory: those that set MICROPY_MBEDTLS_CONFIG_BARE_METAL, and
ESP32, whose heap grows out of the RAM of which TLS takes a part."""
TLS_BUFFERS = (16717, 4429)
"""Of an association, in one piece each: for records that come, and for those that go (mbedtls_config_common.h)."""
TLS_BYTES = 24 * 1024
"""Of an association while it is open, the buffers among them. Measured with MicroPython's Mbed TLS on 64 bits
(`make tls-memory`): 24,272 bytes; 5.3 kB more in its handshake, when less of the assistant is loaded than later."""
TLS_BYTES_SMALL = 8 * 1024
"""The same with 2,381 bytes, for records of 2 kB, in place of both buffers, see package.SMALL_TLS_BUFFERS."""
FROZEN_SAVES = 25 * 1024
"""Computed, as no build of MicroPython was at hand. In a heap dump of the romfs form, with the default protocols and at
the moment of the largest use, these parts are in flash when a module is frozen: 8.8 kB tables of names, 2.3 kB names,
7.2 kB tables of constants, 7.4 kB constant objects."""
HELPERS_BYTES = 6 * 1024
"""What our own part takes of a board's heap while it says how much is free (tools/flash_helpers.py)."""
PROTOCOLS = ("CoAP", "CoAP, compact", "CoAP and JSON", "HTTPS", "direct")
_FILE = Path(__file__).with_name("heap_needed.toml")


@functools.lru_cache(maxsize=1)
def measured() -> Mapping[str, Mapping[str, int]]:
    """Bytes of heap by form (mpy, romfs) and protocols, TLS memory outside."""
    found: dict[str, dict[str, int]] = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return found


def heap_needed(form: Form, protocols: str = "CoAP", *, tls_in_heap: bool = False, small_buffers: bool = False) -> int:
    """Bytes; those of a frozen form and of TLS in the heap are computed."""
    bytes_needed = measured()["romfs"][protocols] - FROZEN_SAVES if form == "frozen" else measured()[form][protocols]
    if tls_in_heap:
        bytes_needed += TLS_BYTES_SMALL if small_buffers else TLS_BYTES  # of one association: there are never two
    return bytes_needed


def protocols_of(settings: Mapping[str, Any]) -> str:
    """The row of the table for a device with these settings (ipa.json); of several the one that needs most."""
    if settings.get("download") == "direct":
        return "direct"
    if settings.get("binding") == "json":
        return "CoAP and JSON"
    if settings.get("transport") == "https":
        return "HTTPS"
    return "CoAP, compact" if settings.get("compact") else "CoAP"


def needed_on(board: Board, form: Form, protocols: str = "CoAP") -> int:
    """The same on a board, whose port decides where TLS has its memory."""
    return heap_needed(form, protocols, tls_in_heap=board.port in TLS_IN_HEAP)


def chosen_form(board: Board, protocols: str, heap_free: int, no_romfs: str = "") -> tuple[Form | None, str]:
    """The form that a board with so many bytes of heap can carry, and why none that is easier to flash.

    None where not even a frozen image will do. ``no_romfs``: why its romfs partition cannot be used, "" where it can.
    """
    heap = heap_free + HELPERS_BYTES
    needed = {form: needed_on(board, form, protocols) for form in FORMS}
    has = f"the board has {heap // 1024}"
    if heap >= needed["mpy"]:
        return "mpy", ""
    why = f"bytecode in RAM needs {needed['mpy'] // 1024} KiB of heap ({protocols}), {has}"
    if heap >= needed["romfs"]:
        return ("frozen", f"{why}, and {no_romfs}") if no_romfs else ("romfs", why)
    why += f", and romfs needs {needed['romfs'] // 1024}"
    if heap >= needed["frozen"]:
        return "frozen", why
    small = _with_small_buffers(board, protocols)
    if heap >= small:
        return "frozen", f"{why}; frozen {small // 1024}, with the small Mbed TLS buffers that the manifest names"
    return None, f"the smallest form, frozen, needs {needed['frozen'] // 1024} KiB of heap ({protocols}), {has}"


def _with_small_buffers(board: Board, protocols: str) -> int:
    """Of a frozen image whose TLS buffers are small, which CoAP alone can do with."""
    small = protocols.startswith("CoAP") and board.port in TLS_IN_HEAP
    return heap_needed("frozen", protocols, tls_in_heap=board.port in TLS_IN_HEAP, small_buffers=small)


def forms_that_fit(board: Board, protocols: str = "CoAP") -> list[Form]:
    """By what board.toml says of its heap; the ones that are easier to flash first."""
    return [form for form in FORMS if needed_on(board, form, protocols) <= board.heap_kb * 1024]
