"""Tasks of the product beside the assistant: they are restarted and reported when they crash."""

import asyncio
import sys

from ipa import compat
from ipa.compat import ERROR, const, log, sleep_ms, ticks_diff, ticks_ms

_PAUSE_MS = const(1000)
_LONGEST_PAUSE_MS = const(3600000)

_tasks = []


def keep(work, *arguments):
    """Run the coroutine work(*arguments), and restart it whenever it ends in an exception.

    Before that there is a pause of 1 s, twice as long each time up to 1 h, and 1 s again after an hour without a crash.
    The reason is logged and, at the next poll, reported to the eIM. A task that returns is not restarted.
    """
    _tasks.append(asyncio.create_task(_run(work, arguments)))


async def _run(work, arguments):
    pause = _PAUSE_MS
    while True:
        began = ticks_ms()
        try:
            return await work(*arguments)
        except Exception as error:  # noqa: BLE001 - the product may raise any exception
            if not 0 <= ticks_diff(ticks_ms(), began) < _LONGEST_PAUSE_MS:
                pause = _PAUSE_MS
            sys.print_exception(error)
            compat.trouble = "{} crashed: {}: {}".format(work.__name__, type(error).__name__, error)
            log(ERROR, "tasks: {}, again in {} s".format(compat.trouble, pause // 1000))
        await sleep_ms(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_MS)
