"""An SQLite file that survives a killed process and a power cut."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.errors import BadArgumentError

# What a power cut may cost: after so long a transaction waits until the disk has all before it.
DURABLE_S = 1.0
# How long a transaction waits for another program's.
LOCK_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Schema:
    """Of a kind of database.

    Attributes:
        name: of the kind, for messages.
        application_id: by which a file of that kind is known.
        version: of the tables; a file of another version is refused.
        sql: makes the tables of a new file.
    """

    name: str
    application_id: int
    version: int
    sql: str


class Database:
    """A file with the tables of `schema`, made where it is not there; for any thread.

    A killed process loses no transaction, since each is a write to the write-ahead log (WAL). A
    power cut loses none but those of the last `DURABLE_S` seconds: waiting for the disk every time
    (synchronous=FULL) takes up to tens of ms on an SD card, so only one transaction a second does.

    Args:
        exclusive: whether no other process may open it at the same time.

    Raises:
        BadArgumentError: another kind of file is there, or one of another version.
        OSError: it cannot be opened, or another process has it.
    """

    def __init__(self, path: Path, schema: Schema, *, exclusive: bool = False) -> None:
        self._path, self._schema = path, schema
        self._lock = threading.Lock()
        self._durable_s = 0.0
        with self._errors():
            self._connection = sqlite3.connect(
                path, timeout=LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
        try:
            if exclusive:
                self._connection.execute("PRAGMA busy_timeout = 0")
                self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that the block does, or, where it or the disk fails, nothing.

        Raises:
            OSError: the disk does.
        """
        with self._lock, self._errors():
            now_s = time.monotonic()
            durable = now_s - self._durable_s >= DURABLE_S
            # FULL waits for the whole log, and so for the transactions before.
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            changes = self._connection.total_changes
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # SQLite itself may have rolled back, as on a full disk.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            # One that only read did not wait for anything.
            if durable and self._connection.total_changes > changes:
                self._durable_s = now_s

    def close(self) -> None:
        """Move the log into the file, and close it.

        Raises:
            OSError: the disk fails.
        """
        with self._lock, self._errors():
            self._connection.close()

    def _prepare(self) -> None:
        """Make the tables of a new file, and check those of one that is there."""
        try:
            found = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise self._os_error(error) from error
            raise BadArgumentError(
                f"{self._path}: exists and is no SQLite file; name another"
            ) from None
        schema = self._schema
        with self._errors():
            if not found:
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.executescript(
                    f"BEGIN IMMEDIATE; {schema.sql} "
                    f"PRAGMA application_id = {schema.application_id}; "
                    f"PRAGMA user_version = {schema.version}; COMMIT;"
                )
            elif self._pragma("application_id") != schema.application_id:
                raise BadArgumentError(
                    f"{self._path}: exists and is no {schema.name} of this program; name another"
                )
            elif (version := self._pragma("user_version")) != schema.version:
                raise BadArgumentError(
                    f"{self._path}: is a {schema.name} of version {version}, and this program "
                    f"writes version {schema.version}; name a new file"
                )
            self._connection.execute("PRAGMA foreign_keys = ON")

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._os_error(error) from error

    def _os_error(self, error: sqlite3.Error) -> OSError:
        text = str(error)
        if "locked" in text:
            text = "another program holds it; close that, or name another file"
        return OSError(errno.EIO, text, str(self._path))
