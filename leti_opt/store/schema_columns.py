"""What the tables of a store are made of: their metadata, kinds of columns, and moments in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Column, DateTime, Dialect, Double, ForeignKey, Integer, MetaData, Text, TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, kept in UTC with microseconds. Who stores one has checked that it has a time zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Turn a moment into UTC."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        """Say that a stored moment is UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def identifier() -> Column[int]:
    """The number by which other tables name a row."""
    return Column("id", Integer, primary_key=True)


def reference(table: str, *, nullable: bool = False) -> Column[int]:
    """A row of another table, by its number.

    Args:
        table: its name without the s at its end.
        nullable: whether there may be none.
    """
    return Column(f"{table}_id", ForeignKey(f"{table}s.id"), nullable=nullable)


def text(name: str, *, nullable: bool = False) -> Column[str]:
    """A text of any length."""
    return Column(name, Text, nullable=nullable)


def double(name: str, *, nullable: bool = True) -> Column[float]:
    """A number of double precision."""
    return Column(name, Double, nullable=nullable)
