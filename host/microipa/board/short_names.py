"""Gives private names of the assistant short ones that many of them share, before it is compiled.

MicroPython keeps every name once, with an entry in a table in RAM which it doubles: at 630 names, and at 1,260 by 9 kB
in one piece. Names that begin with an underscore are the assistant's own: 380 of its 1,250. Lines stay where they are,
so that a traceback tells the right one.
"""

from __future__ import annotations

import ast
import io
import itertools
import re
import string
import tokenize
from collections.abc import Collection, Iterable, Iterator, Mapping

_PRIVATE = re.compile(r"\b_[A-Za-z]\w*\b")
_CONSTANT = re.compile(r"^(_\w+) = const\(", re.MULTILINE)  # which the compiler leaves out


def with_short_names(sources: Mapping[str, str], watchers: Iterable[str] = ()) -> dict[str, str]:
    """The same modules, {"ipa.agent": text}, with short private names.

    A name becomes the same one everywhere. Two share one where no module, and no class with those that it inherits
    from, has both. A name in a string stays, since somebody may look it up; so does one in ``watchers``, the texts of
    programs that reach into the assistant.
    """
    names = {module: set(_PRIVATE.findall(text)) for module, text in sources.items()}
    kept = {name for text in watchers for name in _PRIVATE.findall(text)}
    for text in sources.values():
        kept.update(_CONSTANT.findall(text), *map(_PRIVATE.findall, _strings(text)))
    together = [set().union(*(names[module] for module in family)) - kept for family in _families(sources)]
    short = _shared(together, set().union(kept, *names.values()))
    return {module: _replaced(text, short) for module, text in sources.items()}


def _strings(text: str) -> Iterator[str]:
    return (token.string for token in _tokens(text) if token.type == tokenize.STRING)


def _tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    return tokenize.generate_tokens(io.StringIO(text).readline)


def _families(sources: Mapping[str, str]) -> list[set[str]]:
    """The modules, those together whose classes inherit from each other."""
    family = {module: {module} for module in sources}
    for module, text in sources.items():
        for base in _bases(module, ast.parse(text)) & set(sources):
            joined = family[module] | family[base]
            family.update(dict.fromkeys(joined, joined))
    return list({id(one): one for one in family.values()}.values())


def _bases(module: str, tree: ast.Module) -> set[str]:
    """The modules from which those classes come that the classes of this one inherit from."""
    origin = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = alias.asname or alias.name
                origin[name] = {f"{node.module}", f"{node.module}.{alias.name}"}
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                while isinstance(base, ast.Attribute):
                    base = base.value
                if isinstance(base, ast.Name):
                    found |= origin.get(base.id, set())
    return found - {module}


def _shared(together: Collection[set[str]], taken: set[str]) -> dict[str, str]:
    """A short name for each, another for each two that are in one of the sets."""
    letters = string.ascii_lowercase + string.ascii_uppercase
    free = [f"_{first}{second}" for first, second in itertools.product(letters, ["", *letters])]
    free = sorted((name for name in free if name not in taken), key=len)
    short: dict[str, str] = {}
    for name in sorted(set().union(*together), key=lambda name: (-sum(name in one for one in together), name)):
        beside = {short[other] for one in together if name in one for other in one if other in short}
        short[name] = next(one for one in free if one not in beside)
    return short


def _replaced(text: str, short: Mapping[str, str]) -> str:
    lines = text.splitlines(keepends=True)
    for token in reversed(list(_tokens(text))):
        if token.type == tokenize.NAME and token.string in short:
            (row, start), (_, end) = token.start, token.end
            lines[row - 1] = lines[row - 1][:start] + short[token.string] + lines[row - 1][end:]
    return "".join(lines)
