"""Statements that are compiled once: a look-up then costs little more than SQLite itself needs."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Select, Table, bindparam, insert

from leti_opt.store.schema import SQLITE


class PreparedInsert:
    """Inserts many rows of a table past SQLAlchemy's own execution, which costs more than the rows themselves.

    Args:
        table: where to.
        columns: of the rows, in order.
    """

    def __init__(self, table: Table, columns: Sequence[str]) -> None:
        self._statement = insert(table).values({name: bindparam(name) for name in columns})
        self._columns = [table.c[name] for name in columns]

    def many(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert rows that have every one of the columns."""
        if not rows:
            return
        compiled = self._statement.compile(dialect=connection.dialect)
        types = [(column.name, column.type.dialect_impl(connection.dialect)) for column in self._columns]
        converters = {name: kind.bind_processor(connection.dialect) for name, kind in types}
        names = list(compiled.positiontup or converters)
        series = [
            [row[name] for row in rows] if convert is None else [convert(row[name]) for row in rows]
            for name, convert in ((name, converters[name]) for name in names)
        ]
        values: Iterable[Any] = zip(*series, strict=True)
        if not connection.dialect.positional:
            values = (dict(zip(names, one, strict=True)) for one in values)
        raw: Any = connection.connection.driver_connection
        raw.cursor().executemany(compiled.string, values)


class Prepared:
    """A query that runs past SQLAlchemy's own execution, which takes ten times as long as a look-up.

    Args:
        statement: its parameters are ``bindparam``\\ s of plain text or integers; every column has a name of its own.
    """

    def __init__(self, statement: Select[*tuple[Any, ...]]) -> None:
        self._statement = statement
        self._make = namedtuple("Row", statement.selected_columns.keys())._make  # type: ignore[attr-defined]
        self._compiled = {SQLITE.name: _Compiled(statement, SQLITE)}

    def all(self, connection: Connection, **values: str | int | None) -> list[Any]:
        """Every row, with the columns as attributes."""
        compiled = self._compiled.get(connection.dialect.name) or self._compile(connection.dialect)
        raw: Any = connection.connection.driver_connection
        parameters = values if compiled.parameters is None else [values[name] for name in compiled.parameters]
        cursor = raw.execute(compiled.sql, parameters)
        found = cursor.fetchall()
        if compiled.converters is None:
            compiled.learn_types(cursor.description)
        rows = map(compiled.converted, found) if compiled.converters else found
        return list(map(self._make, rows))

    def first(self, connection: Connection, **values: str | int | None) -> Any:
        """The first row, or None."""
        rows = self.all(connection, **values)
        return rows[0] if rows else None

    def _compile(self, dialect: Dialect) -> _Compiled:
        compiled = self._compiled[dialect.name] = _Compiled(self._statement, dialect)
        return compiled


class _Compiled:
    """A query as one kind of database takes it.

    Attributes:
        parameters: their names in order; None where the driver takes them by name.
    """

    def __init__(self, statement: Select[*tuple[Any, ...]], dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self.sql = compiled.string
        self.parameters = tuple(compiled.positiontup or ()) if dialect.positional else None
        self.converters: list[tuple[int, Callable[[Any], Any]]] | None = None
        self._dialect = dialect
        self._columns = list(statement.selected_columns)

    def learn_types(self, description: Sequence[Sequence[Any]]) -> None:
        """See from a first answer how its columns become Python's own values; PostgreSQL says their types there."""
        types = [column.type.dialect_impl(self._dialect) for column in self._columns]
        codes = [column[1] for column in description]
        processors = [kind.result_processor(self._dialect, code) for kind, code in zip(types, codes, strict=True)]
        self.converters = [(place, convert) for place, convert in enumerate(processors) if convert is not None]

    def converted(self, row: tuple[Any, ...]) -> list[Any]:
        """The row with Python's own values."""
        cells = list(row)
        for place, convert in self.converters or ():
            cells[place] = convert(cells[place])
        return cells
