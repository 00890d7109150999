"""Takes over what another store holds: all of it or nothing, and nothing twice.

What the other store measured keeps its digest, so it is recognized whatever way it comes back; its ``source`` names the
file that it came from, so that this store's canary does not withdraw it. Searches, campaigns, claims, the URIs of
devices and panels stay behind: they belong to the machine that they were made on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, insert, select, update

from leti_opt.errors import InvalidInputError, NotFoundError, StoreError
from leti_opt.store import migrate, schema, sqlite_file
from leti_opt.store.database import Database
from leti_opt.store.postgresql import PostgresqlDatabase
from leti_opt.store.postgresql_url import is_postgresql
from leti_opt.store.registry import ALIAS_COLUMNS
from leti_opt.store.sqlite_database import SqliteDatabase
from leti_opt.temporary_folder import temporary_folder

_CHUNK = 1000
_Row = Mapping[str, Any]
_Ids = dict[int, int]


@dataclass(frozen=True)
class MergeCounts:
    """What a merge added; what was there already is not counted, but for the last two.

    Args:
        measurements, models, aliases, networks, devices, epochs, suspicions, failures, links, scores: new rows.
        known_measurements: measurements of the other store that were here already.
        differing_scores: scores that the other store has another value for; those of this store stand.
    """

    measurements: int = 0
    models: int = 0
    aliases: int = 0
    networks: int = 0
    devices: int = 0
    epochs: int = 0
    suspicions: int = 0
    failures: int = 0
    links: int = 0
    scores: int = 0
    known_measurements: int = 0
    differing_scores: int = 0


@contextmanager
def snapshot(url: str | Path, into: Database) -> Iterator[tuple[Connection, str]]:
    """A copy of another store as of now, brought to the newest schema; the store itself is only read.

    Args:
        url: the other store.
        into: the store that takes it over.

    Returns:
        A transaction on the copy, and the other store's file name, or its database's.

    Raises:
        NotFoundError: there is no such store.
        InvalidInputError: it is the same store, or one in memory.
        StoreError: it is no store, damaged, or written by a newer leti_opt.
    """
    if is_postgresql(url):
        with _snapshot_of_database(str(url), into) as found:
            yield found
        return
    path = sqlite_file.parse_url(url)
    if path is None:
        raise InvalidInputError("a store in memory cannot be merged; give the other store a file, such as other.db")
    if not path.exists():
        raise NotFoundError(f"there is no store {path}; name the file to merge")
    if path == into.path:
        raise InvalidInputError(f"{path} cannot be merged with itself; name another store")
    with ExitStack() as at_end:
        folder = at_end.enter_context(temporary_folder("merge"))
        copy = SqliteDatabase(folder / path.name)
        at_end.callback(copy.close)
        with _named(copy, path):
            sqlite_file.check(path)
            with sqlite_file.ClearErrors(path):
                sqlite_file.copy(path, folder / path.name)
            copy.open()
        yield at_end.enter_context(copy.read()), path.name


@contextmanager
def _snapshot_of_database(url: str, into: Database) -> Iterator[tuple[Connection, str]]:
    """What is merged of a database, in a file: then the transaction that takes it over waits for no network."""
    other = PostgresqlDatabase(url)
    if other.name == into.name:
        raise InvalidInputError(f"{other.name} cannot be merged with itself; name another store")
    version = other.stored_version()
    if version is None:
        raise NotFoundError(f"there is no store in {other.name}; its database is empty")
    if migrate.needs_upgrade(version, other.name):
        raise StoreError(f"{other.name} is of an earlier version; run: leti-opt store info, which upgrades it")
    with ExitStack() as at_end:
        folder = at_end.enter_context(temporary_folder("merge"))
        copy = SqliteDatabase(folder / "copy.db")
        at_end.callback(copy.close)

        def take() -> None:
            with other.read() as source, copy.write() as target:
                merge(target, source, other.url.database)

        try:
            other.patiently(take)
        finally:
            other.close()
        yield at_end.enter_context(copy.read()), other.url.database


def merge(target: Connection, source: Connection, name: str) -> MergeCounts:
    """Take over everything; the caller's transaction makes it all or nothing.

    Args:
        target: of the store that takes over, in a writing transaction.
        source: of the other one, in a reading transaction.
        name: what ``source`` says of measurements that were the other store's own.

    Raises:
        StoreError: a cell stands for another model there; nothing was written.
    """
    return _Merge(target, source, name).run()


@contextmanager
def _named(copy: Database, path: Path) -> Iterator[None]:
    """Errors of the copy name the store that was copied."""
    try:
        yield
    except StoreError as error:
        raise type(error)(str(error).replace(str(copy.path), str(path))) from error


class _Merge:
    """One merge; each step returns how old ids became new ones, or how many rows are new."""

    def __init__(self, target: Connection, source: Connection, name: str) -> None:
        self.target = target
        self.source = source
        self.name = name

    def run(self) -> MergeCounts:
        self._check_aliases()
        models, new_models = self._models()
        devices, new_devices = self._by_key(schema.devices, ("digest",), {})
        epochs, new_epochs = self._by_key(schema.epochs, ("device_id", "digest"), {"device_id": devices})
        own = {"model_id": models, "device_id": devices, "epoch_id": epochs}
        measurements, fresh = self._measurements(own)
        scores, differing = self._scores()
        return MergeCounts(
            measurements=len(fresh),
            models=new_models,
            aliases=self._by_key(schema.aliases, ALIAS_COLUMNS, own)[1],
            networks=self._by_key(schema.networks, ("digest",), {})[1],
            devices=new_devices,
            epochs=new_epochs,
            suspicions=self._suspicions(measurements),
            failures=self._whole_rows(schema.failures, own),
            links=self._whole_rows(schema.epoch_links, {"first_epoch_id": epochs, "second_epoch_id": epochs}),
            scores=scores,
            known_measurements=len(measurements) - len(fresh),
            differing_scores=differing,
        )

    def _check_aliases(self) -> None:
        query = select(*(schema.aliases.c[name] for name in ALIAS_COLUMNS), schema.models.c.key).join(schema.models)
        known = {tuple(row[:-1]): row.key for row in self.target.execute(query)}
        for row in self.source.execute(query):
            here = known.get(tuple(row[:-1]))
            if here not in (None, row.key):
                raise StoreError(
                    f"the cell {row.cell} with network {row.network_digest[:12]} and renderer {row.renderer} is the "
                    f"model {here} in this store and {row.key} in {self.name}: different code built them; nothing was "
                    "merged; keep these stores apart"
                )

    def _models(self) -> tuple[_Ids, int]:
        """Models by key; what this store did not know of one is filled in, a file's path only with its hash."""
        known = {row.key: row for row in self.target.execute(select(schema.models))}
        for row in self.source.execute(select(schema.models)):
            here = known.get(row.key)
            if here is None:
                continue
            lacking = {name for name, value in here._mapping.items() if value is None}
            if here.path is not None or here.file_sha256 is not None:
                lacking -= {"path", "file_sha256"}
            filled = {name: row._mapping[name] for name in lacking if row._mapping[name] is not None}
            if filled:
                self.target.execute(update(schema.models).where(schema.models.c.id == here.id).values(filled))
        return self._by_key(schema.models, ("key",), {})

    def _measurements(self, own: Mapping[str, _Ids]) -> tuple[_Ids, _Ids]:
        """New ids of all measurements, and of those that were added now."""
        before = {row.digest for row in self.target.execute(select(schema.measurements.c.digest))}
        ids, _ = self._by_key(schema.measurements, ("digest",), own)
        digests = self.source.execute(select(schema.measurements.c.id, schema.measurements.c.digest))
        fresh = {row.id: ids[row.id] for row in digests if row.digest not in before}
        for table in (schema.attempts, schema.attempt_faults, schema.metrics):
            moved = self._moved(table, {"measurement_id": fresh})
            self._insert(table, (row for row in moved if row["measurement_id"] is not None))
        return ids, fresh

    def _by_key(self, table: Table, key: tuple[str, ...], references: Mapping[str, _Ids]) -> tuple[_Ids, int]:
        """Add the rows whose key is not there yet."""
        known = self._ids(table, key)
        rows = list(self._moved(table, references, with_id=True))
        fresh = [row for row in rows if tuple(row[name] for name in key) not in known]
        self._insert(table, ({name: value for name, value in row.items() if name != "id"} for row in fresh))
        known = self._ids(table, key) if fresh else known
        return {row["id"]: known[tuple(row[name] for name in key)] for row in rows}, len(fresh)

    def _ids(self, table: Table, key: tuple[str, ...]) -> dict[tuple[Any, ...], int]:
        found = self.target.execute(select(table.c.id, *(table.c[name] for name in key)))
        return {tuple(row[1:]): row.id for row in found}

    def _whole_rows(self, table: Table, references: Mapping[str, _Ids]) -> int:
        """Add rows that nothing but all of their columns together identifies."""
        columns = [column for column in table.c if column.name != "id"]
        known = {tuple(row) for row in self.target.execute(select(*columns))}
        fresh = {tuple(row.values()): row for row in self._moved(table, references)}
        return self._insert(table, (row for key, row in fresh.items() if key not in known))

    def _suspicions(self, measurements: _Ids) -> int:
        """What either store withdrew is withdrawn; of two reasons the earlier stands."""
        table = schema.suspicions
        known = {row.measurement_id: (row.found_at, row.reason) for row in self.target.execute(select(table))}
        rows = list(self._moved(table, {"measurement_id": measurements}))
        for row in rows:
            here = known.get(row["measurement_id"])
            if here is not None and (row["found_at"], row["reason"]) < here:
                self.target.execute(update(table).where(table.c.measurement_id == row["measurement_id"]).values(row))
        return self._insert(table, (row for row in rows if row["measurement_id"] not in known))

    def _scores(self) -> tuple[int, int]:
        """How many are new, and how many differ from this store's own, which stand: searches here were told them."""
        table, key = schema.scores, ("cell", "evaluator_digest")
        query = select(*(table.c[name] for name in key), table.c.value)
        here = {tuple(row[:-1]): row.value for row in self.target.execute(query)}
        there = {tuple(row[:-1]): row.value for row in self.source.execute(query)}
        differing = sum(here.get(place, value) != value for place, value in there.items())
        return self._by_key(table, key, {})[1], differing

    def _moved(self, table: Table, references: Mapping[str, _Ids], with_id: bool = False) -> Iterator[dict[str, Any]]:
        """Rows of the other store, with this store's ids where they refer to other tables."""
        columns = [column for column in table.c if with_id or column.name != "id"]
        for found in self.source.execute(select(*columns)):
            row = dict(found._mapping)
            for name in references.keys() & row.keys():
                row[name] = references[name].get(row[name])
            if table is schema.measurements and row["source"] is None:
                row["source"] = self.name
            yield row

    def _insert(self, table: Table, rows: Iterable[_Row]) -> int:
        added, left = 0, iter(rows)
        while chunk := list(islice(left, _CHUNK)):
            self.target.execute(insert(table), chunk)
            added += len(chunk)
        return added
