"""Quirks of the two servers. What they change: ``microipa.smdpp.behaviour`` and ``microipa.eim.behaviour``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from microipa.quirks.registry import NUMBER, Quirk


def _smdpp(name: str, changes: Mapping[str, object], says: str, source: str = "field.md 3", **more: Any) -> Quirk:
    return Quirk(f"smdpp-{name}", "smdpp", changes, says, source, **more)


def _eim(name: str, changes: Mapping[str, object], says: str, source: str = "field.md 2", **more: Any) -> Quirk:
    return Quirk(name, "eim", changes, says, source, **more)


QUIRKS = (
    _smdpp("503-initiate", {"fails_initiate": NUMBER},
           "The first initiateAuthentications end in HTTP 503.", number=1,
           unit="requests"),
    _smdpp("503-authenticate", {"fails_authenticate": NUMBER},
           "The first authenticateClients end in HTTP 503.", number=1,
           unit="requests"),
    _smdpp("503-package", {"fails_package": NUMBER},
           "The first getBoundProfilePackages end in HTTP 503.", number=1,
           unit="requests"),
    _smdpp("503-notification", {"fails_notification": NUMBER},
           "The first handleNotifications end in HTTP 503.", number=1,
           unit="requests"),
    _smdpp("429-package", {"fails_package": NUMBER, "status": 429},
           "The first getBoundProfilePackages end in HTTP 429.",
           number=1, unit="requests"),
    _smdpp("429-notification", {"fails_notification": NUMBER, "status": 429},
           "The first handleNotifications end in HTTP 429.", number=1, unit="requests"),
    _smdpp("closes-authenticate", {"closes_authenticate": NUMBER},
           "The connection is closed in the middle of the first answers to authenticateClient.",
           number=1, unit="answers"),
    _smdpp("closes-package", {"closes_package": NUMBER},
           "The connection is closed in the middle of the first answers to getBoundProfilePackage.",
           number=1, unit="answers"),
    _smdpp("slow", {"slow_s": NUMBER},
           "The answers to the first authenticateClient and getBoundProfilePackage take a long time.", number=25,
           unit="seconds"),
    _smdpp("restart", {"restarts_s": NUMBER},
           "At the first getBoundProfilePackage the server restarts and loses its sessions.", number=1.5,
           unit="seconds"),
    _smdpp("nulls", {"nulls": True},
           "Optional members in JSON are null instead of being left out.", "field.md 4"),
    _smdpp("byte-order-mark", {"byte_order_mark": True},
           "Answers in JSON begin with a byte order mark.", "field.md 4"),
    _smdpp("critical-policy", {"critical_policy": True},
           "The TLS certificate has a critical policy, which Mbed TLS does not accept (-0x2080).",
           "arduino-esp32 #10026"),
    _smdpp("other-metadata", {"other_metadata": True},
           "authenticateClient returns another profile name than the package has: the device must not install it.",
           "SGP.22 3.1.3: field.md 2"),
    _eim("notification-4xx", {"refuses_notifications": NUMBER},
         "The eIM refuses the first HandleNotifications with 4xx.",
         number=2, unit="messages"),
    _eim("eim-busy", {"busy": NUMBER},
         "The eIM answers the first messages with 5.03 or HTTP 503.", "fleet.md", number=2,
         unit="messages"),
    _eim("eim-slow", {"slow_s": NUMBER},
         "Every answer of the eIM takes a long time.", "fleet.md", number=3, unit="seconds"),
    _eim("eim-silent", {"silent_at": NUMBER},
         "The eIM never answers one message.", "fleet.md", number=4,
         unit="messages"),
    _eim("eim-garbled", {"garbled_at": NUMBER},
         "One answer of the eIM is cut in half.", "field.md 5", number=4,
         unit="messages"),
    _eim("eim-short-ci-id", {"short_key_id": True},
         "euiccCiPKIdentifierToBeUsed contains only the first octets, which v1.2 allows."),
    _eim("eim-no-anchor", {"anchorless": True},
         "The eIM's configuration has no trustedPublicKeyDataTls; its CA is in the board's eim_roots.der."),
    _eim("eim-code-blanks", {"blanks": True},
         "Activation codes in triggers contain blanks and line ends around and inside their parts.", "field.md 2"),
    Quirk("foreign-questions", "eim2", {"curious": True},
          "A second eIM on the card requests all stored results, and acknowledges all possible numbers.",
          "field.md 2"),
    Quirk("foreign-injects", "eim2", {"injects": True},
          "A second eIM on the card injects an acknowledgement of all possible numbers.", "field.md 2"),
    Quirk("foreign-ack", "eim2", {"foreign": True},
          "A second eIM on the card acknowledges results and notifications that are not its own.", "field.md 2"),
)
