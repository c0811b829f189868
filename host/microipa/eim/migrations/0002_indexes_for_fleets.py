"""Indexes by which no poll and no result is slower for what is queued for others, or was settled long ago."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"

OPEN = sa.text("orders.state IN ('queued', 'delivered')")
DUE = sa.text("forwards.delivered IS NULL")


def upgrade() -> None:
    known = {index["name"] for index in sa.inspect(op.get_bind()).get_indexes("orders")}
    for outdated in known & {"ix_orders_eid", "ix_orders_state"}:
        op.drop_index(str(outdated), "orders")
    for name, table, columns, where in (
        ("orders_of_device", "orders", ["eid", "id"], None),
        ("orders_by_sequence", "orders", ["eid", "sequence"], None),
        ("open_orders", "orders", ["eid", "id"], OPEN),
        ("expiring_orders", "orders", ["expires"], OPEN),
        ("due_forwards", "forwards", ["due"], DUE),
        ("delivered_forwards", "forwards", ["delivered"], None),
        ("ix_forwards_eid", "forwards", ["eid"], None),
        ("ix_alarms_eid", "alarms", ["eid"], None),
        ("ix_sessions_order_id", "sessions", ["order_id"], None),
        ("ix_sessions_created", "sessions", ["created"], None),
    ):
        only = {} if where is None else {"sqlite_where": where, "postgresql_where": where}
        op.create_index(name, table, columns, if_not_exists=True, **only)  # type: ignore[arg-type]
