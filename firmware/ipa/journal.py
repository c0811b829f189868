"""The state that must survive a power cut and that the card does not keep: running download, pending switch, and so on.

A file of two lines, CRC and JSON. It is written completely to a second file, which is then renamed to the first. So
after a power cut either the old state or the new one is there. A file whose CRC is wrong is ignored.

    download, eim        eimTransactionId of the running download, and the eimId of its eIM
    attempts, tries      how often a reboot interrupted it, how often its SM-DP+ could not be reached (for a `direct`
                         result as well)
    ended                for each eIM its last completed download: eimId, eimTransactionId, seqNumber of the result
    refused              results that an eIM refused, see steps/refused.py
    unlisted             result of a package on a card that does not list results, see steps/unlisted.py
    direct               results of direct downloads that the device must deliver, see steps/direct.py
    switch               a profile switch that is not confirmed yet: `eim` (hex) that ordered it or `cause` of our own,
                         `undo` how to reverse it, `left` seconds until then, `reset` the card must be reset
    profile, imei, plmn  enabled ICCID, device and network as last seen; also `place`, if the board has position()
    known                marks of the card data that the eIMs already have, see steps/known.py
    cause                the stateChangeCause still to be reported to each eIM, see changes.py
    loss, fallback       see policy.py
    emergency            the application has enabled the emergency profile
    asleep               state for a deep sleep, on a board without RTC memory, see sleep.py
"""

import json
import os
from binascii import crc32

from ipa.compat import ERROR, const, log

_HEAD = const(10)  # the line with the CRC, and the end of the other one
_LARGEST = const(16384)  # bytes; callers limit the size of what they write


class JournalFull(OSError):
    """The values are longer than the file may be; nothing has been written."""


class Journal:
    def __init__(self, path):
        self._path = path
        self._fresh = path + ".new"
        self._values = {}
        self._pending = {}  # changes of later() that are not written yet
        # FAT cannot rename over a file: after a power cut only the second file may be there.
        for name in (self._path, self._fresh):
            values = _read(name)
            if values is not None:
                self._values = values
                break

    def get(self, key, default=None):
        return self._pending[key] if key in self._pending else self._values.get(key, default)

    def later(self, **changes):
        """Keep the changes in RAM and write them with the next set(). A power cut before that loses them."""
        self._pending.update(changes)

    def pending(self):
        return self._pending

    def set(self, **changes):
        """Make the changes (None deletes a key) and write them before returning. Raises OSError, JournalFull."""
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
    """The values in a file, None if there is no file or it is damaged."""
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
