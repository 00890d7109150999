"""A PostgreSQL server of the tests' own: one a session, with a fresh database for each test."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

USER = "ada"
PASSWORD = "s@sam/e 100%"
_NOT_DURABLE = ("fsync=off", "full_page_writes=off")  # outlives the server's crash, and not this machine's


def _place() -> str:
    """In memory where there is room: a database is hundreds of files."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > 2**30 else "/tmp"


class PostgresqlServer:
    """A server in a folder of its own, on a free port of this host.

    PostgreSQL refuses to run as root: then it runs as the user ``postgres``, whose folder it is.

    Args:
        durable: whether what was committed is forced to the disk, as in earnest; slower.
    """

    def __init__(self, *, durable: bool = False) -> None:
        from tests.conftest import postgresql_folder

        programs = postgresql_folder()
        assert programs is not None, "mark the test with needs('postgresql')"
        self._programs = programs
        self._settings = () if durable else _NOT_DURABLE
        self._databases = 0
        self.starts = 0
        self.folder = Path(tempfile.mkdtemp(prefix="leti-opt-pg-", dir="/tmp" if durable else _place()))
        self._as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
            self._as_user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run("initdb", "-U", USER, "-A", "scram-sha-256", f"--pwfile={password}", "-E", "UTF8", "--no-sync")
        self.start()
        self.execute("CREATE DATABASE store_template")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = ("listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}", *self._settings)
        options = " ".join([f"-p {self.port}", *(f"-c {setting}" for setting in settings)])
        self._run("pg_ctl", "start", "-w", "-t", "60", "-l", str(self.folder / "log"), "-o", options)
        self.starts += 1

    def stop(self, mode: str = "fast") -> None:
        """Stop it: ``fast`` ends every connection, ``immediate`` is a crash."""
        self._run("pg_ctl", "stop", "-w", "-t", "60", "-m", mode)

    def restart(self, mode: str = "fast") -> None:
        """Stop and start it."""
        self.stop(mode)
        self.start()

    def remove(self) -> None:
        """Stop it if it runs, and delete everything."""
        if (self.folder / "data" / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder)

    def url(self, database: str, user: str = USER, password: str = PASSWORD) -> str:
        """The store's URL of a database."""
        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> Any:
        """A connection of psycopg's that commits by itself."""
        import psycopg

        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=database, autocommit=True
        )

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement; its rows, if it gives any."""
        with self.connect(database) as connection:
            cursor = connection.execute(statement)
            return [] if cursor.description is None else list(cursor.fetchall())

    def new_database(self, template: str | None = None) -> str:
        """Name of a new database, empty or a copy."""
        self._databases += 1
        name = f"store_{self._databases}"
        self.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        return name

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", str(self.folder / "data"), *arguments]
        # A file and no pipe: the server keeps what it inherits, and a pipe would not end.
        with tempfile.TemporaryFile("w+") as output:
            result = subprocess.run(
                command, stdout=output, stderr=output, timeout=120, check=False, cwd="/", **self._as_user
            )
            output.seek(0)
            assert result.returncode == 0, output.read()


def _server() -> Iterator[PostgresqlServer]:
    from leti_opt.store import LatencyStore

    server = PostgresqlServer()
    try:
        LatencyStore(server.url("store_template")).close()
        yield server
    finally:
        server.remove()


postgresql_server = pytest.fixture(scope="session", name="postgresql_server")(_server)
"""The session's server; who stops it starts it again."""


@pytest.fixture
def postgresql_url(postgresql_server: PostgresqlServer) -> Iterator[str]:
    """URL of a new store that is empty; it ends with the test."""
    database = postgresql_server.new_database("store_template")
    yield postgresql_server.url(database)
    postgresql_server.execute(f"DROP DATABASE {database} WITH (FORCE)")
