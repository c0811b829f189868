"""The tables as they were when they got version numbers. Of earlier labs some lack tables, the first ones numbers."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0001", None

ORDERS = (
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("iccid", sa.String, nullable=False, index=True),
    sa.Column("profile_type", sa.String),
    sa.Column("package", sa.LargeBinary, nullable=False),
    sa.Column("profile_metadata", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.String(11), nullable=False),
    sa.Column("owner", sa.String),
    sa.Column("matching_id", sa.String, unique=True),
    sa.Column("eid", sa.String),
    sa.Column("confirmation_hash", sa.LargeBinary),
    sa.Column("expires", sa.DateTime),
    sa.Column("smds_address", sa.String),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("confirmation_failures", sa.Integer, nullable=False),
    sa.Column("transaction_id", sa.String),
    sa.Column("bound_to", sa.String),
    sa.Column("result", sa.String),
    sa.Column("created", sa.DateTime, nullable=False),
    sa.Column("changed", sa.DateTime, nullable=False),
)
VARIANTS = (
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("order_id", sa.Integer, sa.ForeignKey("orders.id"), nullable=False),
    sa.Column("package", sa.LargeBinary, nullable=False),
)
OPERATORS = (
    sa.Column("oid", sa.String, primary_key=True),
    sa.Column("address", sa.String),
    sa.Column("certificate", sa.LargeBinary, unique=True),
)
OUTGOING = (
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("address", sa.String, nullable=False),
    sa.Column("interface", sa.String, nullable=False),
    sa.Column("function", sa.String, nullable=False),
    sa.Column("body", sa.String, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due", sa.DateTime, nullable=False),
    sa.Column("created", sa.DateTime, nullable=False),
)
DOWNLOADS = (
    sa.Column("transaction_id", sa.String, primary_key=True),
    sa.Column("order_id", sa.Integer, sa.ForeignKey("orders.id"), nullable=False),
    sa.Column("eid", sa.String, nullable=False),
    sa.Column("euicc_certificate", sa.LargeBinary, nullable=False),
    sa.Column("euicc_otpk", sa.LargeBinary, nullable=False),
    sa.Column("smdp_otpk", sa.LargeBinary, nullable=False),
    sa.Column("parts", sa.LargeBinary, nullable=False),
    sa.Column("created", sa.DateTime, nullable=False),
    sa.Column("result", sa.String),
)


def upgrade() -> None:
    there = sa.inspect(op.get_bind())
    if "id" not in columns(there, "orders"):
        number_orders()
    for name, wanted in (("variants", VARIANTS), ("operators", OPERATORS), ("outgoing", OUTGOING)):
        if not there.has_table(name):
            op.create_table(name, *wanted)
    if there.has_table("operators") and "certificate" not in columns(there, "operators"):
        op.rename_table("operators", "operators_before")
        op.create_table("operators", *OPERATORS)
        op.execute("INSERT INTO operators (oid, address) SELECT oid, address FROM operators_before")
        op.drop_table("operators_before")


def columns(there: sa.Inspector, table: str) -> set[str]:
    return {column["name"] for column in there.get_columns(table)}


def number_orders() -> None:
    """In the first labs an order's key was its matchingId, and nothing was kept to hand a bound package out again."""
    op.rename_table("orders", "orders_before")
    op.rename_table("downloads", "downloads_before")
    op.create_table("orders", *ORDERS)
    op.create_table("downloads", *DOWNLOADS)
    kept = ("matching_id, iccid, package, profile_metadata, eid, confirmation_hash, expires, state, attempts, "
            "confirmation_failures, bound_to, result, created, changed")
    op.execute(f"INSERT INTO orders ({kept}) SELECT {kept} FROM orders_before ORDER BY created")  # noqa: S608
    op.execute(
        "INSERT INTO downloads (transaction_id, order_id, eid, euicc_certificate, euicc_otpk, smdp_otpk, parts,"
        " created, result) SELECT d.transaction_id, o.id, d.eid, d.euicc_certificate, x'', x'', x'', d.created,"
        " d.result FROM downloads_before d JOIN orders o ON o.matching_id = d.matching_id"
    )
    op.drop_table("downloads_before")
    op.drop_table("orders_before")
