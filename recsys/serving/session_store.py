"""Sessions between two clicks: what the model remembers of each, for a time, in one place for all workers.

A session is put back with the revision it was read at, so that of two clicks at the same time one is tried again and none is lost.
"""

import hashlib
import sqlite3
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson

from recsys.errors import ConfigurationError
from recsys.settings.serving import SessionStoreSettings


@dataclass(frozen=True, slots=True)
class KeptSession:
    """A session as it is kept.

    Attributes
    ----------
    revision
        1 when it is first kept, and one more with every click from then on.
    clicks
        Clicks so far, also of items that the model does not know.
    items
        Ids of the last clicks of items it knows, oldest first, as many as it looks at.
    model
        The package whose state it is.
    state
        Its float32 values; empty where the model has none.
    """

    revision: int
    clicks: int
    items: list
    model: str = ""
    state: bytes = b""


class SessionStore(Protocol):
    """Keeps sessions."""

    def get(self, keys: list[str]) -> list[KeptSession | None]:
        """The sessions of these ids; None where none is kept."""

    def put(self, sessions: dict[str, KeptSession]) -> set[str]:
        """Keep sessions, each in place of the revision before its own; the ids of those that another click came before."""

    def forget(self, key: str) -> bool:
        """Drop a session; whether there was one."""

    def close(self) -> None:
        """Let go of what the store holds."""


def _key(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=16).digest()


_TABLE = """
    CREATE TABLE IF NOT EXISTS sessions (
        key BLOB PRIMARY KEY, revision INTEGER NOT NULL, clicks INTEGER NOT NULL, used REAL NOT NULL,
        items BLOB NOT NULL, model TEXT NOT NULL, state BLOB NOT NULL
    ) WITHOUT ROWID
"""
_SAVE = """
    INSERT INTO sessions (key, revision, clicks, used, items, model, state) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET revision = excluded.revision, clicks = excluded.clicks, used = excluded.used, items = excluded.items,
    model = excluded.model, state = excluded.state WHERE revision = excluded.revision - 1 OR used < ?
"""


class FileStore:
    """Sessions in an SQLite file that several processes of a machine share.

    Nothing is forced to the disk: what is lost with the machine is rebuilt from the clicks.

    Parameters
    ----------
    path
        The file.
    keep
        Seconds a session is kept after its last click.
    most
        Most sessions kept; a tenth of them goes at once when there are more.
    """

    _LOOK_EVERY = 1_000
    """Clicks after which expired sessions are removed."""

    def __init__(self, path: Path, keep: float, most: int) -> None:
        self._path, self._keep, self._most = path, keep, most
        self._own = threading.local()
        self._clicks = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._connection as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(_TABLE)
                connection.execute("CREATE INDEX IF NOT EXISTS by_use ON sessions (used)")
            path.chmod(0o600)
        except (sqlite3.Error, OSError) as error:
            raise ConfigurationError(f"serve.sessions.folder: {path.parent} cannot be used for sessions ({error})") from None

    @property
    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._own, "connection"):
            self._own.connection = sqlite3.connect(self._path, timeout=10, isolation_level=None, check_same_thread=False)
            self._own.connection.execute("PRAGMA synchronous = OFF")
        return self._own.connection

    def get(self, keys: list[str]) -> list[KeptSession | None]:
        """See `SessionStore`."""
        oldest = time.time() - self._keep
        found = []
        for key in keys:
            query = "SELECT revision, clicks, items, model, state FROM sessions WHERE key = ? AND used >= ?"
            row = self._connection.execute(query, (_key(key), oldest)).fetchone()
            found.append(None if row is None else KeptSession(row[0], row[1], orjson.loads(row[2]), row[3], row[4]))
        return found

    def put(self, sessions: dict[str, KeptSession]) -> set[str]:
        """See `SessionStore`."""
        now = time.time()
        refused = set()
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            for key, kept in sessions.items():
                row = (_key(key), kept.revision, kept.clicks, now, orjson.dumps(kept.items), kept.model, kept.state)
                if not connection.execute(_SAVE, (*row, now - self._keep)).rowcount:
                    refused.add(key)
            self._clicks += len(sessions)
            if self._clicks >= min(self._LOOK_EVERY, self._most):
                self._clicks = 0
                self._clean(connection, now)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        return refused

    def _clean(self, connection: sqlite3.Connection, now: float) -> None:
        connection.execute("DELETE FROM sessions WHERE used < ?", (now - self._keep,))
        (count,) = connection.execute("SELECT count(*) FROM sessions").fetchone()
        if count > self._most:
            surplus = count - self._most + self._most // 10
            connection.execute("DELETE FROM sessions WHERE key IN (SELECT key FROM sessions ORDER BY used LIMIT ?)", (surplus,))

    def forget(self, key: str) -> bool:
        """See `SessionStore`."""
        return self._connection.execute("DELETE FROM sessions WHERE key = ?", (_key(key),)).rowcount > 0

    def close(self) -> None:
        """See `SessionStore`."""
        self._connection.close()


_SWAP = """
    local revision = redis.call('HGET', KEYS[1], 'revision')
    if revision and tonumber(revision) ~= tonumber(ARGV[1]) - 1 then return 0 end
    redis.call('HSET', KEYS[1], 'revision', ARGV[1], 'clicks', ARGV[2], 'items', ARGV[3], 'model', ARGV[4], 'state', ARGV[5])
    redis.call('PEXPIRE', KEYS[1], ARGV[6])
    return 1
"""


class RedisStore:
    """Sessions in a Redis server, for servers on several machines; how many are kept is the Redis server's own limit.

    Parameters
    ----------
    url
        As `redis://host:6379/0`.
    keep
        Seconds a session is kept after its last click.
    """

    def __init__(self, url: str, keep: float) -> None:
        import redis

        try:
            self._client: Any = redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)
            self._client.ping()
        except (redis.RedisError, ValueError) as error:
            raise ConfigurationError(f"serve.sessions.redis: the server cannot be used ({str(error).splitlines()[0]})") from None
        self._keep = round(keep * 1_000)
        self._swap = self._client.register_script(_SWAP)

    @staticmethod
    def _name(key: str) -> bytes:
        return b"recsys:session:" + _key(key).hex().encode()

    def get(self, keys: list[str]) -> list[KeptSession | None]:
        """See `SessionStore`."""
        with self._client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.hmget(self._name(key), "revision", "clicks", "items", "model", "state")
            rows = pipeline.execute()
        return [
            None if row[0] is None else KeptSession(int(row[0]), int(row[1]), orjson.loads(row[2]), row[3].decode(), row[4]) for row in rows
        ]

    def put(self, sessions: dict[str, KeptSession]) -> set[str]:
        """See `SessionStore`."""
        with self._client.pipeline(transaction=False) as pipeline:
            for key, kept in sessions.items():
                values = [kept.revision, kept.clicks, orjson.dumps(kept.items), kept.model, kept.state, self._keep]
                self._swap(keys=[self._name(key)], args=values, client=pipeline)
            done = pipeline.execute()
        return {key for key, kept in zip(sessions, done, strict=True) if not kept}

    def forget(self, key: str) -> bool:
        """See `SessionStore`."""
        return bool(self._client.delete(self._name(key)))

    def close(self) -> None:
        """See `SessionStore`."""
        self._client.close()


FILE = "sessions.sqlite"


def open_store(settings: SessionStoreSettings, temporary: Path) -> SessionStore:
    """The store of the settings; `temporary` is the server's own folder, where the file lies unless the settings name another.

    Raises
    ------
    ConfigurationError
        If it cannot be used.
    """
    keep = settings.keep / 1_000
    if settings.redis is not None:
        return RedisStore(settings.redis, keep)
    folder = Path(settings.folder) if settings.folder is not None else temporary
    return FileStore(folder / FILE, keep, settings.most)


def temporary_folder() -> tempfile.TemporaryDirectory:
    """A folder for a server's sessions, in memory where the machine has such a place, that ends with the server."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(prefix="recsys-sessions-", dir=memory if memory.is_dir() else None)
