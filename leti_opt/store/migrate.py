"""Brings a store's tables to the newest version."""

from __future__ import annotations

import threading
from pathlib import Path

from sqlalchemy import Connection, text

from leti_opt.errors import ForeignStoreError, StoreVersionError
from leti_opt.store import schema

MIGRATIONS = Path(__file__).parent / "migrations"

# Alembic keeps the migration that runs in module variables, so a process can run one at a time.
_one_at_a_time = threading.Lock()


_IS_THERE = {
    "sqlite": "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'",
    "postgresql": "SELECT to_regclass('alembic_version') IS NOT NULL",
}


def stored_version(connection: Connection, name: str) -> str:
    """Schema version of an open store.

    Raises:
        ForeignStoreError: it has no version, so it is none of ours.
    """
    found = connection.execute(text(_IS_THERE[connection.dialect.name])).scalar_one()
    version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar() if found else None
    if version is None:
        raise ForeignStoreError(f"{name} has no schema version, so it is no store of leti_opt; name another file")
    return str(version)


def needs_upgrade(version: str, name: str) -> bool:
    """Whether a store of this version is older than this leti_opt.

    Raises:
        StoreVersionError: it is newer.
    """
    if version == schema.HEAD:
        return False
    if not version.isdigit() or int(version) > int(schema.HEAD):
        raise StoreVersionError(
            f"{name} was written by a newer leti_opt (schema {version}; this one knows up to {schema.HEAD}); "
            "run: pip install --upgrade leti_opt"
        )
    return True


def upgrade(connection: Connection) -> None:
    """Run the migrations that are missing, within the connection's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    with _one_at_a_time:
        command.upgrade(config, "head")
