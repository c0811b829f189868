"""The loop: damaged messages to each target in turn, its limits of time and memory, its report."""

from __future__ import annotations

import contextlib
import logging
import resource
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from fuzz.mutations import Mutation

CPU_SECONDS = 3.0  # for one message; CPU time, so that a loaded machine is no finding
MORE_MEMORY = 256 << 20  # bytes of address space that a target may take besides what is there before
RENEW = 400  # messages after which a target begins anew: what they changed in it does not pile up
LOOPBACK = "127.0.0.1"
FEWEST = 10  # messages, however short the time
MOST_FINDINGS = 20

Take = Callable[[bytes], object]


class TooSlowError(BaseException):
    """One message took more than CPU_SECONDS."""


@dataclass(frozen=True)
class Target:
    """``begin`` makes the subject anew and gives what takes a message; ``named`` are the errors that it may raise."""

    name: str
    messages: tuple[bytes, ...]
    mutation: Mutation
    named: tuple[type[BaseException], ...]
    begin: Callable[[], Take]


@dataclass
class Outcome:
    """``findings``: of each place that raised something else the first message and the traceback."""

    target: str
    messages: int = 0
    refused: int = 0
    slowest: float = 0.0
    findings: dict[str, tuple[bytes, str]] = field(default_factory=dict)


def explore(target: Target, seed: int, seconds: float) -> Outcome:
    """Damaged messages for that long. The same seed damages alike."""
    rng = Random(f"{seed}/{target.name}")
    outcome = Outcome(target.name)
    end = time.monotonic() + seconds
    take: Take | None = None
    while outcome.messages < FEWEST or (time.monotonic() < end and len(outcome.findings) < MOST_FINDINGS):
        if take is None or outcome.messages % RENEW == 0:
            take = target.begin()
        message = target.mutation(rng, rng.choice(target.messages))
        try_one(target, take, message, outcome)
    return outcome


def try_one(target: Target, take: Take, message: bytes, outcome: Outcome) -> None:
    outcome.messages += 1
    begin = time.process_time()
    try:
        with _limited():
            take(message)
    except target.named:
        outcome.refused += 1
    except (Exception, TooSlowError) as error:  # noqa: BLE001 (that is what is looked for)
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
        outcome.findings.setdefault(place, (message, traceback.format_exc()))
    outcome.slowest = max(outcome.slowest, time.process_time() - begin)


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def limit() -> None:
    """Let this process have no more memory than now and MORE_MEMORY, and no message more time than CPU_SECONDS.

    Names of servers in messages lead nowhere: nobody is asked for them.
    """

    resolve = socket.getaddrinfo

    def known(host: Any, *where: Any, **how: Any) -> Any:
        if host == LOOPBACK:
            return resolve(host, *where, **how)
        raise socket.gaierror(socket.EAI_NONAME, f"{host!r}: no names in here")

    socket.getaddrinfo = known

    def stop(*_: object) -> None:
        raise TooSlowError

    signal.signal(signal.SIGVTALRM, stop)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MORE_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
    logging.disable()


def report(outcome: Outcome) -> Iterator[str]:
    yield (
        f"{outcome.target:16} {outcome.messages:7} messages, {outcome.refused:7} refused by name, "
        f"slowest {outcome.slowest:.2f} s, {len(outcome.findings)} findings"
    )
    for place, (message, trace) in outcome.findings.items():
        yield f"  {place}: again with --target {outcome.target} --input {message.hex()}"
        yield from (f"    {line}" for line in trace.splitlines())
