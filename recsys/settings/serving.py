"""Tracking, registration, promotion and the served app."""

from typing import Literal

from pydantic import Field

from recsys.settings.base import Name, Section


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


class ServeSettings(Section):
    """The served app."""

    host: str = "127.0.0.1"
    """Address to listen on; the app has no authentication, so keep it on the loopback or behind a gateway."""
    port: int = Field(default=5000, ge=1, le=65535)
    """Port to listen on."""
    workers: int = Field(default=1, ge=1, le=256)
    """Server processes."""
    model: str | None = None
    """A package folder, or an MLflow model URI. None: the registered champion."""
    max_session_length: int = Field(default=200, ge=1, le=10_000)
    """Clicks of a session that are looked at, the last ones."""
    max_body_bytes: int = Field(default=1_000_000, ge=1_000)
    """Largest request body."""
    max_sessions: int = Field(default=1_000, ge=1)
    """Most sessions a request."""
