"""ES11 in its JSON binding: what an SM-DS knows of downloads that wait for this card (SGP.22 5.8, 6.5)."""

from ipa.compat import const
from ipa.net.es9 import Es9, Es9Malformed

_MOST_EVENTS = const(8)
_EVENT_ID = const(255)
_ADDRESS = const(255)


class Es11(Es9):
    """InitiateAuthentication is that of ES9+."""

    ROLE = 6  # id-rspRole-ds-tls-v2

    async def authenticate_client(self, transaction_id, response):
        """`response` is the card's BF38. Returns the events, oldest first: (address of the SM-DP+, EventID)."""
        function = "authenticateClient"
        json = await self._request_authentication(response)
        events = None
        await json.enter()
        while True:
            name = await json.name()
            if name is None:
                break
            if name == b"header":
                await self._header(function, json)
            elif name == b"eventEntries":
                events = await _events(json)
            elif name == b"transactionId":
                self._check_transaction(function, {name: await json.text(2 * len(transaction_id))})
            else:
                await json.skip()
        if events is None:
            raise Es9Malformed(function, "no eventEntries")
        return events


async def _events(json):
    events = []
    await json.enter_array()
    while await json.item():
        event = {b"rspServerAddress": b"", b"eventId": b""}
        await json.enter()
        while True:
            name = await json.name()
            if name is None:
                break
            if name in event:
                event[name] = await json.text(_ADDRESS if name == b"rspServerAddress" else _EVENT_ID)
            else:
                await json.skip()
        if len(events) < _MOST_EVENTS:
            try:
                events.append((str(event[b"rspServerAddress"], "utf-8"), str(event[b"eventId"], "utf-8")))
            except UnicodeError:
                raise Es9Malformed("authenticateClient", "an event that is no text") from None
    return events
