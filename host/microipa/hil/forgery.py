"""Packages that the eIM never signed, or that the card has carried out: what somebody can send who holds the eIM's
database and its servers, and not the key that signs."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from microipa.crypto.pki import Credential
from microipa.eim import packages
from microipa.eim.packages import Operation
from microipa.eim.store import QUEUED, Order, Store


def forge(store: Store, number: int, eim_id: str, operations: Sequence[Operation], signer: Credential) -> None:
    """Put these operations in the place of an order's own, for its first delivery, signed by ``signer``."""
    with store.work() as db:
        order = db.get_one(Order, number)
        device = order.device
        device.counter += 1
        order.counter, order.transaction_id = device.counter, secrets.token_bytes(8)
        order.message = packages.euicc_package(
            signer,
            eim_id=eim_id,
            eid=device.eid,
            counter=order.counter,
            transaction_id=order.transaction_id,
            token=device.token or 0,
            content=packages.encode_operations(operations),
        )


def replay(store: Store, number: int) -> None:
    """Let the device fetch a package once more, to the last byte as it was."""
    with store.work() as db:
        db.get_one(Order, number).state = QUEUED
