"""Every error a card can answer a function with reaches the assistant by its code: all of the schema."""

from __future__ import annotations

import pytest
from conftest import Run
from microipa.asn1 import sgp32
from microipa.asn1.kinds import Kind
from microipa.asn1.tlv import integer, tlv

CALLS = {  # function: type that answers it, call, codes that the assistant takes for success
    "AddInitialEim": ("AddInitialEimResponse", "add_initial_eim(b'')", set()),
    "GetCerts": ("GetCertsResponse", "get_certs()", set()),
    "ListNotification": ("ListNotificationResponse", "list_notifications()", set()),
    "RetrieveNotificationsList": ("RetrieveNotificationsListResponse", "retrieve_results()", set()),
    "RemoveNotificationFromList": ("NotificationSentResponse", "remove_notification(1)", {"ok", "nothingToDelete"}),
}

SCRIPT = """
from ipa.card.channel import Channel
from ipa.card.es10 import Es10
from rooms import Carrier, failing, run
async def main():
    for answer in {answers}:
        channel = Channel(Carrier(lambda command: bytes.fromhex(answer)))
        await channel.open()
        print(await failing(Es10(channel).{call}))
run(main())
"""


def codes(type_name: str) -> Kind:
    """The INTEGER with names among the components or alternatives of an answer."""
    return next(member.kind for member in sgp32.kind(type_name).members if member.kind.names)


def case(function: str) -> object:
    names = codes(CALLS[function][0]).names.values()
    return pytest.param(function, marks=pytest.mark.covers(*(f"es10b.{function}.{name}" for name in names)))


@pytest.mark.parametrize("function", [case(function) for function in CALLS])
async def test_5_9_an_error_of_the_card_is_told_by_its_code(micropython: Run, function: str) -> None:
    type_name, call, good = CALLS[function]
    kind, outer = codes(type_name), sgp32.kind(type_name).tags[0]
    answers = [tlv(outer, integer(kind.tags[0], code)).hex() for code in kind.names]
    out = await micropython(SCRIPT.replace("{answers}", repr(answers)).replace("{call}", call))
    assert out.splitlines() == [
        "no error but None" if name in good else f"CardRefused {function}: the card refused with {code}"
        for code, name in kind.names.items()
    ]
