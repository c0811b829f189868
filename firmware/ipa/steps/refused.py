"""What an eIM did not take is offered to it again, ever more seldom, and stays on the card. Loaded for that.

The journal has for such an eIM, `refused`: eimId, largest seqNumber it refused, how often in a row, deliveries to let
pass before the next. What is newer goes out at once.
"""

from ipa.compat import INFO, const, log

_MOST = const(8)  # eIMs
_LONGEST = const(4)  # pause, as a power of two


def pause(session):
    """Another conversation begins: the largest seqNumber that this eIM is not offered in it, 0 when all are."""
    others, (name, largest, times, left) = _entry(session)
    if not left:
        return 0
    session.journal.set(refused=others + [[name, largest, times, left - 1]])
    log(INFO, "notify: what the eIM refused waits for", left, "more conversations, up to number", largest)
    return largest


def note(session, stays):
    """These seqNumbers stay on the card. Returns the largest that is not offered again in this conversation."""
    others, (name, largest, times, _) = _entry(session)
    if stays:
        times += 1
        others.append([name, max(stays + [session.held]), times, (1 << min(times - 1, _LONGEST)) - 1])
        largest = others[-1][1]
    session.journal.set(refused=others[-_MOST:] or None)
    return largest if stays else 0


def _entry(session):
    name = str(session.eim_id, "utf-8")
    own = [name, 0, 0, 0]
    others = []
    for entry in session.journal.get("refused") or ():
        if entry[0] == name:
            own = entry
        else:
            others.append(entry)
    return others, own
