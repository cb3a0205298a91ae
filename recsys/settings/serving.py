"""Tracking, registration, promotion and the served app."""

from typing import Literal

from pydantic import Field

from recsys.settings.base import Duration, Name, Section


class TrackingSettings(Section):
    """The MLflow store."""

    uri: str | None = None
    """Any MLflow tracking URI. None: an SQLite file under `results/mlflow/`."""
    experiment: Name | None = None
    """The experiment's name. None: the shop's name."""


class PromotionSettings(Section):
    """When a newly registered version becomes the champion."""

    margin: float = Field(default=0.005, ge=0, lt=1)
    """How much worse, in the evaluation metric on validation, a new champion may be on the same split."""
    not_comparable: Literal["promote", "keep"] = "promote"
    """What happens where old and new cannot be compared."""


class RuleSettings(Section):
    """What may be recommended, beside what the model ranks; a request can narrow it further."""

    available: str | None = None
    """A file of the item ids that can be bought now: Parquet or CSV with a column `item_id`, or a text file with an id a line. Read again
    whenever it changes. None: every item."""
    exclude: str | None = None
    """A file, of the same forms, of item ids that are never recommended; read again likewise."""
    categories: list[str] | None = None
    """Only items of these categories. None: every item."""
    diversity: float = Field(default=0.0, ge=0, le=1)
    """How much the items of an answer should differ: 0 ranks by the model alone, 1 by difference alone (maximal marginal relevance)."""


class SessionStoreSettings(Section):
    """Where the sessions of `POST /sessions/{id}/clicks` are kept between two clicks."""

    redis: str | None = None
    """The URL of a Redis server, for servers on several machines. None: a file that the workers of this machine share."""
    folder: str | None = None
    """The folder of that file, which outlives the server then. None: a temporary folder that ends with it."""
    keep: Duration = 30 * 60_000
    """How long a session is kept after its last click."""
    most: int = Field(default=200_000, ge=1)
    """Most sessions kept; beyond it the ones without a click for longest go. About 2 KB each. Redis has limits of its own."""


class ServeSettings(Section):
    """The served app."""

    host: str = "127.0.0.1"
    """Address to listen on. On other addresses than the loopback a token is required (the environment variable `RECSYS_SERVE_TOKEN`),
    and `allowed_hosts`."""
    port: int = Field(default=5000, ge=1, le=65535)
    """Port to listen on."""
    allowed_hosts: list[str] = []
    """Host names by which clients may call the server, without port; `*` allows any. The loopback's own names are always allowed on it."""
    workers: int = Field(default=1, ge=1, le=256)
    """Server processes. One keeps two cores busy, since inference does not hold Python's lock."""
    inference_threads: int = Field(default=2, ge=1, le=64)
    """Threads of a process that answer requests; at most one a core is of use."""
    batch: int = Field(default=16, ge=1, le=1_024)
    """Most requests answered together. Whatever waits is taken, nothing waits for others to come."""
    queue: int = Field(default=256, ge=1)
    """Most sessions waiting for an answer, in a process; requests beyond it are refused with 503 and may try again."""
    timeout: Duration = 2_000
    """How long a request may wait for its turn, and a client may take to send a body."""
    refresh: Duration = 30_000
    """How often the registry is asked for a new champion, and the files of the rules are looked at."""
    model: str | None = None
    """A package folder, or an MLflow model URI. None: the registered champion."""
    max_session_length: int = Field(default=200, ge=1, le=10_000)
    """Clicks of a session that are looked at, the last ones."""
    max_body_bytes: int = Field(default=1_000_000, ge=1_000)
    """Largest request body."""
    max_sessions: int = Field(default=1_000, ge=1)
    """Most sessions a request."""
    log_sample: float = Field(default=0.01, ge=0, le=1)
    """The share of requests that are logged, as JSON lines; failures of the server always are."""
    rules: RuleSettings = RuleSettings()
    sessions: SessionStoreSettings = SessionStoreSettings()
