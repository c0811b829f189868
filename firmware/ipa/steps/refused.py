"""Results that an eIM has refused stay on the card and are sent again at growing intervals. Loaded only then.

The journal has for such an eIM, `refused`: eimId, largest seqNumber that it refused, how often in a row, number of
conversations until the next attempt. Newer results are sent at once.
"""

from ipa.compat import INFO, const, log

_MOST = const(8)  # eIMs
_LONGEST = const(4)  # pause, as a power of two


def pause(session):
    """Called for each conversation: the largest seqNumber that is not sent to this eIM in it, 0 if all are."""
    others, (name, largest, times, left) = _entry(session)
    if not left:
        return 0
    session.journal.set(refused=others + [[name, largest, times, left - 1]])
    log(INFO, "notify: what the eIM refused waits for", left, "more conversations, up to number", largest)
    return largest


def note(session, stays):
    """These seqNumbers stay on the card. Returns the largest that is not sent again in this conversation."""
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
