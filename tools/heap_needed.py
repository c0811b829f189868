"""Finds the smallest heap in which a whole first light goes well, by form and protocols, on a 32-bit MicroPython.

    MICROPYTHON=… python tools/heap_needed.py            # writes heap_needed.toml and the table in firmware/README.md
    … --table                                            # the table alone, from what was measured before

An application of 2 kB lies beside the assistant. Half an hour on a slow machine: each size is one first light.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from microipa.board import needs
from microipa.board.known import known_boards
from microipa.board.micropython import word_bytes
from microipa.board.virtual import Form
from microipa.common import paths
from microipa.lab import Lab
from microipa.lab.demo import BoardFailed, first_light
from microipa.lab.protocols import Protocols
from microipa.trace import Event, Trace

PROTOCOLS = {
    "CoAP": Protocols(), "CoAP, compact": Protocols(compact=True), "CoAP and JSON": Protocols(json=True),
    "HTTPS": Protocols(https=True), "direct": Protocols(direct=True),
}
MAIN = b"kept = bytearray(2048)\nimport app\n"
BEGIN, END = "<!-- make heap-needed -->\n", "<!-- end -->\n"
STRIDE, STEP = 8 * 1024, 2 * 1024


async def goes_well(form: Form, protocols: Protocols, heap: int) -> bool:
    """Whether first light ends well without one memory error."""
    short: list[str] = []

    def hear(event: Event) -> None:
        text = str(event.fields.get("text", ""))
        if event.part == "board" and (event.kind == "reset" or re.search("MemoryError|memory|ENOMEM", text)):
            short.append(text)

    trace = Trace()
    trace.listen(hear)
    settings = {"stop_when_idle": True, "backoff_s": 1, "backoff_max_s": 2, "app_tick_ms": 50, **protocols.settings}
    with TemporaryDirectory() as folder:
        lab = Lab(Path(folder), radio="none", trace=trace, board_config=settings, heap=str(heap), form=form)
        async with lab:
            (lab.board.folder / "main.py").write_bytes(MAIN)
            trace.listen(lambda event: lab.board.kill() if short else None)
            try:
                outcome = await first_light(lab)
            except BoardFailed:
                return False
    return outcome.succeeded and not short


def smallest(form: Form, protocols: Protocols, first: int) -> int:
    """Bytes, in steps of 2 KiB; ``first`` is tried first."""
    size = first
    while not asyncio.run(goes_well(form, protocols, size)):
        size += STRIDE
    while asyncio.run(goes_well(form, protocols, size - STEP)):
        size -= STEP
    return size


def table() -> str:
    """For firmware/README.md: form by place of TLS memory and protocols, then board by board."""
    columns = [f"{form}, TLS {where}" for form in needs.FORMS for where in ("outside", "in heap")]
    head = "| protocols | " + " | ".join(columns)
    lines = [head + " | frozen, in heap, 2 kB |", "|---" * 8 + "|"]
    for protocols in needs.PROTOCOLS:
        places = [(form, inside) for form in needs.FORMS for inside in (False, True)]
        cells = [needs.heap_needed(form, protocols, tls_in_heap=inside) for form, inside in places]
        cells.append(needs.heap_needed("frozen", protocols, tls_in_heap=True, small_buffers=True))
        small = protocols.startswith("CoAP")  # an SM-DP+ and an eIM over HTTPS send records of 16 kB
        lines.append(f"| {protocols} | " + " | ".join(str(cell // 1024) for cell in cells[:-1])
                     + f" | {cells[-1] // 1024 if small else '–'} |")
    lines += ["", "| board | heap in KiB | through the eIM, CoAP | direct |", "|---|---|---|---|"]
    for board in known_boards():
        if board.port == "unix":
            continue
        cells_of = []
        for protocols in ("CoAP", "direct"):
            fits = needs.forms_that_fit(board, protocols)
            needed = needs.needed_on(board, fits[0], protocols) if fits else 0
            cells_of.append(f"{fits[0]} ({needed // 1024})" if fits else "does not fit")
        lines.append(f"| {board.name} | {board.heap_kb} | {' | '.join(cells_of)} |")
    return "\n".join(lines) + "\n"


def write_table() -> None:
    readme = paths.firmware() / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    readme.write_text(before + BEGIN + table() + END + rest.partition(END)[2], encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="write the table anew, measure nothing")
    if not parser.parse_args().table:
        if word_bytes() != 4:
            sys.exit("heap_needed: this MicroPython has 64-bit words: MICROPYTHON=$(make -s micropython32)")
        lines = []
        for form, before in needs.measured().items():
            lines.append(f"[{form}]")
            for name, protocols in PROTOCOLS.items():
                lines.append(f'"{name}" = {smallest(form, protocols, before[name] - STRIDE // 2)}')
                print(form, lines[-1], flush=True)
        target = Path(needs.__file__).with_name("heap_needed.toml")
        target.write_text("\n".join(lines) + "\n", encoding="utf-8")
        needs.measured.cache_clear()
    write_table()


if __name__ == "__main__":
    main()
