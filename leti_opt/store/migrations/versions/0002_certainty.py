"""How sure a measurement is, what was withdrawn, panels, and what stands behind a network's digest."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring a store of version 0001 here; everything in it stays."""
    with op.batch_alter_table("measurements") as measurements:
        measurements.alter_column("count", existing_type=sa.Integer(), nullable=True)
        measurements.add_column(sa.Column("mean_error_ms", sa.Double(), nullable=True))
        measurements.add_column(_runs_per_sample())
        measurements.add_column(sa.Column("relative_error", sa.Double(), nullable=True))
        measurements.add_column(sa.Column("source", sa.Text(), nullable=True))
        measurements.drop_constraint(op.f("ck_measurements_status"), type_="check")
        measurements.create_check_constraint(
            op.f("ck_measurements_status"), "status IN ('stable', 'unstable', 'unchecked')"
        )
    with op.batch_alter_table("attempts") as attempts:
        attempts.alter_column("count", existing_type=sa.Integer(), nullable=True)
        attempts.add_column(sa.Column("mean_error_ms", sa.Double(), nullable=True))
        attempts.add_column(_runs_per_sample())
    for name in ("role", "path", "file_sha256"):
        op.add_column("models", sa.Column(name, sa.Text(), nullable=True))
    op.create_table(
        "networks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_networks")),
        sa.UniqueConstraint("digest", name=op.f("uq_networks_digest")),
    )
    op.create_table(
        "suspicions",
        sa.Column("measurement_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("found_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["measurement_id"], ["measurements.id"], name=op.f("fk_suspicions_measurement_id")),
        sa.PrimaryKeyConstraint("measurement_id", name=op.f("pk_suspicions")),
    )
    op.create_table(
        "panel_members",
        sa.Column("device_id", sa.Integer(), nullable=False),
        sa.Column("network_digest", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_panel_members_device_id")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_panel_members_model_id")),
        sa.PrimaryKeyConstraint("device_id", "network_digest", "position", name=op.f("pk_panel_members")),
    )


def _runs_per_sample() -> sa.Column[int]:
    return sa.Column("runs_per_sample", sa.Integer(), server_default="1", nullable=False)
