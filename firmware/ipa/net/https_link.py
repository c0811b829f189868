"""HTTPS with one eIM at a time (SGP.32 6.1.1). Loaded where the settings choose it."""

from ipa import compat
from ipa.compat import INFO, const, log, sleep_ms
from ipa.net import keep_room
from ipa.net.https import Https, HttpsClosed, HttpsRefused, HttpsTimeout
from ipa.net.json_functions import pieces
from ipa.net.link import client_files

_PORT = const(443)
_PAUSE_MS = const(4000)  # before the second time; doubles up to
_LONGEST_PAUSE_MS = const(8000)
_ASN1 = "/gsma/rsp2/asn1"
_JSON = "/gsma/rsp2/esipa/"
_ASN1_TYPE = b"application/x-gsma-rsp-asn1"
_JSON_TYPE = b"application/json;charset=UTF-8"
_HEADERS = b"Content-Type: %s\r\nX-Admin-Protocol: gsma/rsp/v2.1.0\r\nUser-Agent: gsma-rsp-ipad\r\n"


class HttpsLink:
    answered = False
    doubtful = False  # what was lost between two requests is made again without a word

    def __init__(self, modem, settings):
        self._modem = modem
        self._headers = _HEADERS % (_JSON_TYPE if settings["binding"] == "json" else _ASN1_TYPE)
        self._client = client_files(settings)
        self._https = None

    async def open(self, eim):
        """The connection itself is made with the first request, and again when it is lost."""
        headers = self._headers
        if compat.trouble:
            from ipa.net import trouble

            headers += b"%s: %s\r\n" % (trouble.HEADER, trouble.text())
        self._https = Https(self._modem.tcp, eim.host, eim.port or _PORT, eim.trust, headers, self._client)
        log(INFO, "poll: HTTPS with", eim.host)

    async def exchange(self, parts, function=None):
        """POST the parts. Returns the Body of the answer.

        An eIM answers the same request twice in the same way, so one whose answer was lost goes out again.
        """
        path = _ASN1 if function is None else _JSON + function
        length = sum([len(part) for part in parts])
        pause = _PAUSE_MS
        while True:
            try:
                body = await self._https.post(path, length, lambda: pieces(parts))
                self.answered = True
                return body
            except HttpsRefused:
                self.answered = True
                raise
            except (HttpsClosed, HttpsTimeout) as error:
                if pause > _LONGEST_PAUSE_MS:
                    raise
                log(INFO, "https: once more after", pause, "ms:", error)
            await sleep_ms(pause)
            pause *= 2

    def set_aside(self, _eim):
        """Close the connection, until the next exchange."""
        self._https.close()
        keep_room()

    def close(self, keep):
        self.end()

    def end(self):
        if self._https is not None:
            self._https.close()
            self._https = None
