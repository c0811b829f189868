"""Events that wait for their eUICC."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from microipa.storage.database import UtcDateTime, utc_now
from microipa.storage.schema import Schema


class Base(DeclarativeBase):
    type_annotation_map = {datetime: UtcDateTime}  # noqa: RUF012  (SQLAlchemy's way)


class EventRecord(Base):
    """An SM-DP+ has something for an eUICC (SGP.22 clause 3.6.1)."""

    __tablename__ = "events"

    eid: Mapped[str] = mapped_column(primary_key=True)  # 32 digits
    event_id: Mapped[str] = mapped_column(primary_key=True)  # of the SM-DP+: its matchingId
    rsp_server_address: Mapped[str]
    owner: Mapped[str]  # OID of the server that registered it
    registered: Mapped[datetime] = mapped_column(default=utc_now)


SCHEMA = Schema(Base.metadata, Path(__file__).with_name("migrations"))
