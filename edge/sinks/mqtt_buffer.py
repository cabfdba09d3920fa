"""MQTT messages that wait for their broker."""

from __future__ import annotations

from pathlib import Path

from edge.sinks.database import Database, Schema

BUFFER = Schema(
    name="buffer of MQTT messages",
    application_id=0x6D70656D,
    version=1,
    sql="""
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL
    );
    """,
)


class MqttBuffer:
    """Messages in an SQLite file, oldest first.

    Args:
        max_mb: its limit, in MB (10^6 bytes) of messages.

    Attributes:
        count: messages that are in it.

    Raises:
        BadArgumentError: the file is no such buffer.
        OSError: it cannot be written, or another run uses it.
    """

    def __init__(self, path: Path, max_mb: float) -> None:
        self._database = Database(path, BUFFER, exclusive=True)
        self._max_bytes = max_mb * 1e6
        with self._database.transaction() as connection:
            extent = "SELECT count(*), total(length(payload)) FROM messages"
            self.count, self._bytes = connection.execute(extent).fetchone()
        self._taken, self._taken_sizes = 0, list[int]()

    def append(self, topic: str, payload: str) -> int:
        """Add a message; the number of oldest ones that it took the place of."""
        data = payload.encode()
        size, dropped = self._bytes + len(data), 0
        with self._database.transaction() as connection:
            insert = "INSERT INTO messages (topic, payload) VALUES (?, ?)"
            connection.execute(insert, (topic, data))
            oldest = "SELECT id, length(payload) FROM messages WHERE id > ? ORDER BY id LIMIT 1"
            while size > self._max_bytes and (
                row := connection.execute(oldest, (self._taken,)).fetchone()
            ):
                connection.execute("DELETE FROM messages WHERE id = ?", row[:1])
                dropped, size = dropped + 1, size - row[1]
        self.count, self._bytes = self.count + 1 - dropped, size
        return dropped

    def take(self, limit: int) -> list[tuple[int, str, bytes]]:
        """Number, topic and payload of the oldest messages; they stay in the buffer."""
        with self._database.transaction() as connection:
            oldest = "SELECT id, topic, payload FROM messages ORDER BY id LIMIT ?"
            rows = connection.execute(oldest, (limit,)).fetchall()
        self._taken, self._taken_sizes = rows[-1][0], [len(payload) for *_, payload in rows]
        return rows

    def remove_taken(self) -> None:
        """Those that were taken last."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM messages WHERE id <= ?", (self._taken,))
        self.count -= len(self._taken_sizes)
        self._bytes -= sum(self._taken_sizes)

    def close(self) -> None:
        """Of the file."""
        self._database.close()
