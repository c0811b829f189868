"""The parsed ASN.1 modules, kept between runs: to parse them takes a second, to read them a millisecond.

Whoever reads them need not load asn1tools either.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import marshal
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

_OTHERS_WRITE = 0o022
_FORM = 2  # of what is kept: with the tags noted


def parsed(files: tuple[Path, ...]) -> dict[str, Any]:
    """The modules of ASN.1 files, as asn1tools parses them, from the user's cache where it has them."""
    kept = _place(files)
    if kept and (modules := _read(kept)) is not None:
        return modules
    import asn1tools

    modules = dict(asn1tools.parse_files([str(file) for file in files]))
    asn1tools.compile_dict(modules, "der")  # notes in ``modules`` which tags are there and how they apply
    if kept:
        with suppress(OSError):  # a home that cannot be written costs time and nothing else
            _write(kept, modules)
    return modules


def _place(files: tuple[Path, ...]) -> Path | None:
    """Where the result for this very content, parser and Python is kept; None where the user has no home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        folder = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    except RuntimeError:
        return None
    parser = importlib.metadata.version("asn1tools")
    digest = hashlib.sha256(f"{_FORM} {parser} {sys.implementation.cache_tag} {marshal.version}\n".encode())
    for file in files:
        digest.update(file.read_bytes())
    return folder / "microipa" / f"{files[-1].stem}-{digest.hexdigest()[:32]}"


def _read(path: Path) -> dict[str, Any] | None:
    """What is kept; None where nothing is, or where others than the user could have written it."""
    try:
        with path.open("rb") as opened:
            status = os.fstat(opened.fileno())
            if status.st_uid != os.geteuid() or status.st_mode & _OTHERS_WRITE:
                return None
            check, content = opened.read(32), opened.read()
        if hashlib.sha256(content).digest() != check:  # half of it, after a crash
            return None
        modules = marshal.loads(content)  # noqa: S302  (of the user's own, and whole)
    except (OSError, ValueError, EOFError, TypeError):
        return None
    return modules if isinstance(modules, dict) else None


def _write(path: Path, modules: dict[str, Any]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = marshal.dumps(modules)
    descriptor, name = tempfile.mkstemp(dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(hashlib.sha256(content).digest() + content)
        os.replace(name, path)
    except OSError:
        with suppress(OSError):
            os.unlink(name)
        raise
