"""What must survive a power cut and the card cannot know: the running download, a switch under way, what is lost.

A file of two lines, CRC and JSON. It is written whole to a second file which then takes the first one's name,
so that after a cut the old state or the new one is there. What its CRC does not confirm is never believed.

    download, eim        eimTransactionId of the running download, the eimId whose it is
    attempts, tries      how often a reboot cut it off, how often its SM-DP+ was away (of a `direct` result as well)
    ended                of each eIM its download that ended last: eimId, eimTransactionId, seqNumber of the result
    refused              what an eIM did not take, see steps/refused.py
    unlisted             result of a package on a card that lists none, see steps/unlisted.py
    direct               results of direct downloads that are ours to deliver, see steps/direct.py
    switch               a change of profile that is not proven yet: `eim` (hex) whose package it was or `cause`
                         of our own, `undo` what takes it back, `left` seconds until then, `reset` the card's due
    profile, imei, plmn  ICCID enabled, device and network when we looked last, place where the board knows it
    known                marks of what the eIMs have of the card, see steps/known.py
    cause                what the eIMs have to be told, see changes.py
    loss, fallback       see policy.py
    emergency            the application has the emergency profile enabled
    asleep               what a deep sleep must not lose, of a board whose RTC has no memory, see sleep.py
"""

import json
import os
from binascii import crc32

from ipa.compat import ERROR, const, log

_HEAD = const(10)  # the line with the CRC, and the end of the other
_LARGEST = const(16384)  # bytes; what is not bounded by its nature is bounded by who writes it


class JournalFull(OSError):
    """More than one file takes; nothing has been written."""


class Journal:
    def __init__(self, path):
        self._path = path
        self._fresh = path + ".new"
        self._values = {}
        self._pending = {}  # what later() was told and is not written down
        # A file system that cannot rename over a file (FAT) may have been cut between the two names.
        for name in (self._path, self._fresh):
            values = _read(name)
            if values is not None:
                self._values = values
                break

    def get(self, key, default=None):
        return self._pending[key] if key in self._pending else self._values.get(key, default)

    def later(self, **changes):
        """Take the changes, and write them down with the next ones that must be: a power cut may lose them."""
        self._pending.update(changes)

    def pending(self):
        return self._pending

    def set(self, **changes):
        """Take the changes, None removes, and write them down before returning. Raises OSError, JournalFull."""
        if changes != {key: self._values.get(key) for key in changes}:
            changes = dict(self._pending, **changes)
            self._write(changes)
        for key in changes:
            self._pending.pop(key, None)

    def _write(self, changes):
        values = dict(self._values)
        for key, value in changes.items():
            if value is None:
                values.pop(key, None)
            else:
                values[key] = value
        text = json.dumps(values)
        if len(text.encode()) + _HEAD > _LARGEST:
            sizes = [(len(json.dumps(value)), key) for key, value in values.items()]
            raise JournalFull("{}: {} bytes are the most, {} has {}".format(
                self._path, _LARGEST, max(sizes)[1], max(sizes)[0]))
        with open(self._fresh, "w") as file:
            file.write("{:08x}\n{}\n".format(crc32(text.encode()), text))
            file.flush()
        os.rename(self._fresh, self._path)
        if hasattr(os, "sync"):
            os.sync()
        self._values = values


def _read(path):
    """The values in a file, None when there is no file or not a whole one."""
    try:
        size = min(os.stat(path)[6], _LARGEST)
        with open(path) as file:
            crc, text = file.read(size).split("\n")[:2]
        if int(crc, 16) == crc32(text.encode()):
            return json.loads(text)
        log(ERROR, "journal:", path, "is damaged and not believed")
    except OSError:
        pass  # the first boot has none
    except ValueError:
        log(ERROR, "journal:", path, "is torn and not believed")
    return None
