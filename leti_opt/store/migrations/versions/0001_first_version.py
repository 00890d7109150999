"""The first version: models, devices and epochs, measurements, failures, scores, searches."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make this version of an empty database."""
    op.create_table(
        "devices",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("hardware", sa.Text(), nullable=False),
        sa.Column("runtime", sa.Text(), nullable=False),
        sa.Column("runner", sa.Text(), nullable=False),
        sa.Column("delegate", sa.Text(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_devices")),
        sa.UniqueConstraint("digest", name=op.f("uq_devices_digest")),
    )
    op.create_table(
        "models",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("renderer", sa.Text(), nullable=False),
        sa.Column("precision", sa.Text(), nullable=False),
        sa.Column("batch_size", sa.Integer(), nullable=True),
        sa.Column("input_shape", sa.Text(), nullable=True),
        sa.Column("flops", sa.BigInteger(), nullable=True),
        sa.Column("parameters", sa.BigInteger(), nullable=True),
        sa.Column("layer_graph_digest", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("key", name=op.f("uq_models_key")),
    )
    op.create_table(
        "scores",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("cell", sa.Text(), nullable=False),
        sa.Column("graph_hash", sa.Text(), nullable=False),
        sa.Column("evaluator_digest", sa.Text(), nullable=False),
        sa.Column("evaluator", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("duration_s", sa.Double(), nullable=False),
        sa.Column("scored_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scores")),
        sa.UniqueConstraint("cell", "evaluator_digest", name=op.f("uq_scores_cell_evaluator_digest")),
    )
    op.create_table(
        "searches",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_searches")),
        sa.UniqueConstraint("digest", name=op.f("uq_searches_digest")),
    )
    op.create_table(
        "aliases",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("graph_hash", sa.Text(), nullable=False),
        sa.Column("network_digest", sa.Text(), nullable=False),
        sa.Column("renderer", sa.Text(), nullable=False),
        sa.Column("cell", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_aliases_model_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_aliases")),
        sa.UniqueConstraint(
            "graph_hash",
            "network_digest",
            "renderer",
            "cell",
            name=op.f("uq_aliases_graph_hash_network_digest_renderer_cell"),
        ),
    )
    op.create_index(op.f("ix_aliases_model_id"), "aliases", ["model_id"], unique=False)
    op.create_table(
        "epochs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("device_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("system_build", sa.Text(), nullable=False),
        sa.Column("driver", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_epochs_device_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_epochs")),
        sa.UniqueConstraint("device_id", "digest", name=op.f("uq_epochs_device_id_digest")),
    )
    op.create_table(
        "evaluations",
        sa.Column("search_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("cell", sa.Text(), nullable=False),
        sa.Column("losses", sa.JSON(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("told_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["search_id"], ["searches.id"], name=op.f("fk_evaluations_search_id")),
        sa.PrimaryKeyConstraint("search_id", "position", name=op.f("pk_evaluations")),
    )
    op.create_table(
        "device_uris",
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Integer(), nullable=False),
        sa.Column("epoch_id", sa.Integer(), nullable=False),
        sa.Column("last_seen", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_device_uris_device_id")),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name=op.f("fk_device_uris_epoch_id")),
        sa.PrimaryKeyConstraint("uri", name=op.f("pk_device_uris")),
    )
    op.create_table(
        "epoch_links",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("first_epoch_id", sa.Integer(), nullable=False),
        sa.Column("second_epoch_id", sa.Integer(), nullable=False),
        sa.Column("agrees", sa.Boolean(), nullable=False),
        sa.Column("median_ratio", sa.Double(), nullable=True),
        sa.Column("spearman", sa.Double(), nullable=True),
        sa.Column("networks", sa.Integer(), nullable=False),
        sa.Column("checked_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["first_epoch_id"], ["epochs.id"], name=op.f("fk_epoch_links_first_epoch_id")),
        sa.ForeignKeyConstraint(["second_epoch_id"], ["epochs.id"], name=op.f("fk_epoch_links_second_epoch_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_epoch_links")),
    )
    op.create_index(op.f("ix_epoch_links_first_epoch_id"), "epoch_links", ["first_epoch_id"], unique=False)
    op.create_index(op.f("ix_epoch_links_second_epoch_id"), "epoch_links", ["second_epoch_id"], unique=False)
    op.create_table(
        "failures",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=True),
        sa.Column("graph_hash", sa.Text(), nullable=True),
        sa.Column("network_digest", sa.Text(), nullable=True),
        sa.Column("renderer", sa.Text(), nullable=True),
        sa.Column("cell", sa.Text(), nullable=True),
        sa.Column("device_id", sa.Integer(), nullable=True),
        sa.Column("epoch_id", sa.Integer(), nullable=True),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("failed_at", sa.DateTime(), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("commit", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_failures_device_id")),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name=op.f("fk_failures_epoch_id")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_failures_model_id")),
        sa.CheckConstraint("stage IN ('build', 'load', 'run')", name=op.f("ck_failures_stage")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_failures")),
    )
    op.create_index(
        op.f("ix_failures_graph_hash_network_digest"), "failures", ["graph_hash", "network_digest"], unique=False
    )
    op.create_index(op.f("ix_failures_model_id"), "failures", ["model_id"], unique=False)
    op.create_table(
        "measurements",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("epoch_id", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("mean_ms", sa.Double(), nullable=False),
        sa.Column("std_ms", sa.Double(), nullable=True),
        sa.Column("min_ms", sa.Double(), nullable=True),
        sa.Column("max_ms", sa.Double(), nullable=True),
        sa.Column("median_ms", sa.Double(), nullable=True),
        sa.Column("p5_ms", sa.Double(), nullable=True),
        sa.Column("p95_ms", sa.Double(), nullable=True),
        sa.Column("min_runs", sa.Integer(), nullable=False),
        sa.Column("max_relative_std", sa.Double(), nullable=False),
        sa.Column("warmup_runs", sa.Integer(), nullable=False),
        sa.Column("first_run_ms", sa.Double(), nullable=True),
        sa.Column("initialization_ms", sa.Double(), nullable=True),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("duration_s", sa.Double(), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("commit", sa.Text(), nullable=True),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name=op.f("fk_measurements_epoch_id")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_measurements_model_id")),
        sa.CheckConstraint("status IN ('stable', 'unstable')", name=op.f("ck_measurements_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_measurements")),
        sa.UniqueConstraint("digest", name=op.f("uq_measurements_digest")),
    )
    op.create_index(op.f("ix_measurements_epoch_id"), "measurements", ["epoch_id"], unique=False)
    op.create_index(op.f("ix_measurements_model_id_epoch_id"), "measurements", ["model_id", "epoch_id"], unique=False)
    op.create_table(
        "attempt_faults",
        sa.Column("measurement_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["measurement_id"], ["measurements.id"], name=op.f("fk_attempt_faults_measurement_id")),
        sa.PrimaryKeyConstraint("measurement_id", "position", name=op.f("pk_attempt_faults")),
    )
    op.create_table(
        "attempts",
        sa.Column("measurement_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("mean_ms", sa.Double(), nullable=False),
        sa.Column("std_ms", sa.Double(), nullable=True),
        sa.Column("min_ms", sa.Double(), nullable=True),
        sa.Column("max_ms", sa.Double(), nullable=True),
        sa.Column("median_ms", sa.Double(), nullable=True),
        sa.Column("p5_ms", sa.Double(), nullable=True),
        sa.Column("p95_ms", sa.Double(), nullable=True),
        sa.Column("runs", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["measurement_id"], ["measurements.id"], name=op.f("fk_attempts_measurement_id")),
        sa.PrimaryKeyConstraint("measurement_id", "position", name=op.f("pk_attempts")),
    )
    op.create_table(
        "metrics",
        sa.Column("measurement_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["measurement_id"], ["measurements.id"], name=op.f("fk_metrics_measurement_id")),
        sa.PrimaryKeyConstraint("measurement_id", "position", name=op.f("pk_metrics")),
    )
