"""ES2+.HandleDownloadProgressInfo: telling an operator how the download it ordered goes on (SGP.22 clause 5.3.5)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

from sqlalchemy.orm import Session

from microipa.smdpp.json_binding import failed
from microipa.smdpp.refusal import Refused
from microipa.smdpp.store import Operator, Order, Outgoing
from microipa.storage.database import utc_now

EXECUTED = {"status": "Executed-Success"}


class Point(IntEnum):
    """notificationPointId."""

    ELIGIBILITY = 1  # and the limit of attempts
    CONFIRMATION = 2  # told when it fails
    BPP_DOWNLOAD = 3  # a session that the eUICC cancels has no point of its own and is told here
    BPP_INSTALLATION = 4


def report(
    database: Session,
    order: Order,
    point: Point,
    eid: str,
    status: dict[str, Any] = EXECUTED,
    result: bytes | None = None,
) -> None:
    """Put a message for the order's operator into the outbox; nothing for orders made at the desk.

    ``result`` is the signed ProfileInstallationResult BF37.
    """
    operator = database.get(Operator, order.owner) if order.owner else None
    if operator is None or operator.address is None:
        return
    message: dict[str, Any] = {
        "eid": eid,
        "iccid": order.iccid,
        "profileType": order.profile_type or "",
        "timestamp": utc_now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        "notificationPointId": int(point),
        "notificationPointStatus": status,
    }
    if result is not None:
        message["resultData"] = base64.b64encode(result).decode()
    database.add(Outgoing.of(operator.address, "es2plus", "handleDownloadProgressInfo", message))


@contextmanager
def reported(database: Session, order: Order, point: Point, eid: str) -> Iterator[None]:
    """A step of which the operator hears when it is refused."""
    try:
        yield
    except Refused as refusal:
        report(database, order, point, eid, failed(refusal))
        raise
