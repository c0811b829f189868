"""ES2+ over HTTP: JSON fields of its functions (SGP.22 clause 6.5.2)."""

from __future__ import annotations

import re
from typing import Any

from starlette.routing import Route

from microipa.smdpp.callers import Callers
from microipa.smdpp.es2 import Es2
from microipa.smdpp.json_binding import Field, flag, requester, text
from microipa.smdpp.refusal import MalformedRequest
from microipa.smdpp.rsp_http import Function, Interface
from microipa.trace import Trace


def _eid(name: str, value: Any) -> str:
    if not re.fullmatch("[0-9]{32}", text(name, value)):
        raise MalformedRequest(f"{name} {value[:64]!a} has not 32 digits")
    return str(value)


def _iccid(name: str, value: Any) -> str:
    if not re.fullmatch("[0-9]{18,19}[0-9Ff]?", text(name, value)):
        raise MalformedRequest(f"{name} {value[:64]!a} is not an ICCID of 19 or 20 digits")
    return str(value)


HEADER = Field("header", "requester", requester)
EID = Field("eid", "eid", _eid, optional=True)
ICCID = Field("iccid", "iccid", _iccid)
MATCHING_ID = Field("matchingId", "matching_id", text, optional=True)


def es2_routes(es2: Es2, callers: Callers, trace: Trace | None) -> list[Route]:
    """Where ``es2`` is offered, to ``callers``."""
    return Interface("smdpp", "es2plus", trace, callers).routes(
        {
            "downloadOrder": Function(
                es2.download_order,
                (
                    HEADER,
                    EID,
                    Field("iccid", "iccid", _iccid, optional=True),
                    Field("profileType", "profile_type", text, optional=True),
                ),
            ),
            "confirmOrder": Function(
                es2.confirm_order,
                (
                    HEADER,
                    ICCID,
                    EID,
                    MATCHING_ID,
                    Field("confirmationCode", "confirmation_code", text, optional=True),
                    Field("smdsAddress", "smds_address", text, optional=True),
                    Field("releaseFlag", "release", flag),
                ),
            ),
            "releaseProfile": Function(es2.release_profile, (HEADER, ICCID)),
            "cancelOrder": Function(
                es2.cancel_order,
                (HEADER, ICCID, EID, MATCHING_ID, Field("finalProfileStatusIndicator", "final_status", text)),
            ),
        }
    )
