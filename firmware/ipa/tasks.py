"""Tasks of the product's own, beside the assistant: seen when they crash, and started again."""

import asyncio
import sys

from ipa import compat
from ipa.compat import ERROR, const, log, sleep_ms, ticks_diff, ticks_ms

_PAUSE_MS = const(1000)
_LONGEST_PAUSE_MS = const(3600000)

_tasks = []


def keep(work, *arguments):
    """Run the coroutine work(*arguments), and again whenever it ends in an exception.

    A pause comes before that: 1 s, twice as long each time up to 1 h, and 1 s again after an hour without a crash.
    The log and, at the next poll, the eIM hear why. A task that returns has ended.
    """
    _tasks.append(asyncio.create_task(_run(work, arguments)))


async def _run(work, arguments):
    pause = _PAUSE_MS
    while True:
        began = ticks_ms()
        try:
            return await work(*arguments)
        except Exception as error:  # noqa: BLE001 - what the product does is not ours to know
            if not 0 <= ticks_diff(ticks_ms(), began) < _LONGEST_PAUSE_MS:
                pause = _PAUSE_MS
            sys.print_exception(error)
            compat.trouble = "{} crashed: {}: {}".format(work.__name__, type(error).__name__, error)
            log(ERROR, "tasks: {}, again in {} s".format(compat.trouble, pause // 1000))
        await sleep_ms(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_MS)
