"""Rows of a long query in pages, so that memory holds one page and no cursor stays open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Select

PAGE_ROWS = 50_000


def pages(connection: Connection, query: Select[Any], key: Column[int]) -> Iterator[Sequence[Any]]:
    """Rows of a query in order of a key, which is unique, above 0, and one of the query's columns as ``id``.

    Nothing may change between the pages: the connection is in a transaction that sees one state.
    """
    last = 0
    while True:
        rows = connection.execute(query.where(key > last).order_by(key).limit(PAGE_ROWS)).all()
        if rows:
            yield rows
        if len(rows) < PAGE_ROWS:
            return
        last = rows[-1].id
