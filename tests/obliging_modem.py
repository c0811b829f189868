"""What answers on a modem's UART and is none, or one without a card."""

from __future__ import annotations

from collections.abc import Callable


def modem(**answers: str) -> Callable[[bytes], bytes]:
    """Says OK to every line, and what is asked for besides."""
    pending = bytearray()

    def answer(data: bytes) -> bytes:
        pending.extend(data)
        said = b""
        while b"\r" in pending:
            line, _, rest = bytes(pending).partition(b"\r")
            pending[:] = rest
            text = next((text for name, text in answers.items() if name.encode() in line), "OK")
            said += b"".join(b"\r\n" + part.encode() + b"\r\n" for part in text.split("|"))
        return said

    return answer
