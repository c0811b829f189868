"""Where `microipa` begins: whoever interrupts it, even while it loads, sees one word and no traceback."""

from __future__ import annotations

import signal
import sys

INTERRUPTED = 128 + signal.SIGINT


def main() -> None:
    """Run the command line."""
    try:
        from microipa.cli.main import main as run

        run()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end comes now, also for impatient people
        print("stopped", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
