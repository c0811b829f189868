"""A lock that processes of one machine share: the file says who holds it, the kernel forgets a holder that ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from microipa.common.errors import MicroipaError


class InUse(MicroipaError):
    """Somebody else has what was wanted: another process, or another part of this one."""


@contextmanager
def lock(path: Path, what: str | None = None, *, reads: bool = False) -> Iterator[None]:
    """Hold ``path``, a file for nothing else, while the block runs; wait for it, or with ``what`` refuse at once.

    ``what`` is the name of the thing in InUse, which tells the holder's process id. ``reads``: where we may not write,
    the thing itself can be read without a lock.
    """
    if reads and not os.access(path if path.exists() else path.parent, os.W_OK, effective_ids=True):
        yield
        return
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if what else 0))
        except BlockingIOError:
            holder = file.read(20) or "that has just started"
            raise InUse(f"{what} is in use by process {holder}: stop it first") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
