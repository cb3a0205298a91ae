"""How runs are trained, compared and chosen."""

from typing import Literal

from pydantic import Field

from recsys.settings.base import Duration, Section

Metric = Literal["recall@1", "recall@5", "recall@10", "recall@20", "mrr@5", "mrr@10", "mrr@20", "ndcg@5", "ndcg@10", "ndcg@20"]


class TrainingSettings(Section):
    """What holds for every run that learns in epochs."""

    metric: Metric = "mrr@20"
    """The validation metric that stops a run early and names its best epoch."""
    patience: int = Field(default=3, ge=1)
    """Epochs without a better validation metric after which a run stops."""
    keep: Literal["best", "last"] = "best"
    """`best`: stop early, keep the best epoch, refit for as many. `last`: train and refit for all epochs, as published figures do."""
    checkpoint_every: Duration = 60_000
    """Time between resume points, which lose nothing but time when a run is killed."""
    step: Literal["torch", "native"] = "torch"
    """What computes GRU4Rec's training steps on a CPU: `torch`, with which the published figures were made, or `native`, the same step in
    Rust, faster and with other random draws, whose figures on whole logs have not been compared yet. A GPU always takes torch."""


class EvaluationSettings(Section):
    """How runs are compared."""

    metric: Metric = "recall@20"
    """The validation metric the champion is chosen by."""
    bootstrap: int = Field(default=2000, ge=100)
    """Resamples (of sessions) behind every interval."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Coverage of the intervals."""
    exclude_session_items: bool = False
    """Leave the items of the session out of its recommendations, in evaluation and in serving alike."""
