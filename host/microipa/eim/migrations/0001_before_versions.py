"""The tables as they were when they got version numbers; earlier labs lack some columns, which may all be empty."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0001", None

LATER: dict[str, dict[str, type]] = {
    "devices": {
        "compact_failed": sa.Boolean, "default_smdp": sa.String, "profiles": sa.JSON, "profiles_known": sa.Double,
        "eims": sa.JSON, "state_change": sa.String, "state_changed": sa.Double, "last_poll": sa.Double,
        "rplmn": sa.String, "device_info": sa.LargeBinary, "ipa_capabilities": sa.LargeBinary,
        "trouble": sa.String, "trouble_told": sa.Double,
    },
    "orders": {
        "confirmation_hash": sa.LargeBinary, "details": sa.JSON, "sequence": sa.Integer, "expires": sa.Double,
        "interruptions": sa.Integer, "due": sa.Double,
    },
    "sessions": {
        "ctx_params_1": sa.LargeBinary, "profile_metadata": sa.LargeBinary, "smdp_signed_2": sa.LargeBinary,
        "smdp_signature_2": sa.LargeBinary, "server_signed_1": sa.LargeBinary, "server_certificate": sa.LargeBinary,
    },
    "forwards": {"last_error": sa.String, "eid": sa.String, "created": sa.Double},
}  # fmt: skip


def upgrade() -> None:
    there = sa.inspect(op.get_bind())
    if not there.has_table("device_keys"):
        op.create_table(
            "device_keys",
            sa.Column("eid", sa.String, sa.ForeignKey("devices.eid"), primary_key=True),
            sa.Column("spki", sa.LargeBinary, nullable=False),
        )
    for table, columns in LATER.items():
        known = {column["name"] for column in there.get_columns(table)}
        for name, kind in columns.items():
            if name not in known:
                op.add_column(table, sa.Column(name, kind))
