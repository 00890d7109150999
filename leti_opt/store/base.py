"""What the parts of a store's class have in common: the database, and one transaction for each call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from leti_opt.store.database import Database

Asked = ParamSpec("Asked")
Answer = TypeVar("Answer")


class StoreBase:
    """Runs functions of one connection as transactions.

    A call is one transaction, so one that was cut off is made again as a whole. What a function gets besides the
    connection (a moment, say) is made before, and stays the same when it runs again: so what was stored the first time
    after all is recognized.
    """

    _database: Database

    def _read(
        self,
        work: Callable[Concatenate[Connection, Asked], Answer],
        /,
        *args: Asked.args,
        **kwargs: Asked.kwargs,
    ) -> Answer:
        """What ``work`` answers from one state of the store."""

        def once() -> Answer:
            with self._database.read() as connection:
                return work(connection, *args, **kwargs)

        return self._database.patiently(once)

    def _write(
        self,
        work: Callable[Concatenate[Connection, Asked], Answer],
        /,
        *args: Asked.args,
        **kwargs: Asked.kwargs,
    ) -> Answer:
        """Do ``work`` whole or not at all; it is on the disk then."""

        def once() -> Answer:
            with self._database.write() as connection:
                return work(connection, *args, **kwargs)

        return self._database.patiently(once)
