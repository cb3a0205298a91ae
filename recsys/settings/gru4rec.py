"""Parameters of GRU4Rec."""

from typing import Literal

from pydantic import Field

from recsys.settings.base import Fraction, Section


class GRU4RecParameters(Section):
    """GRU4Rec with a shared item table (Hidasi et al., ICLR 2016; Hidasi & Karatzoglou, CIKM 2018)."""

    layers: list[int] = Field(default=[100], min_length=1)
    """Units of each GRU layer; the last one is also the width of the item table."""
    loss: Literal["cross-entropy", "bpr-max"] = "cross-entropy"
    """The ranking loss (CIKM 2018, section 3)."""
    batch_size: int = Field(default=64, ge=1)
    """Sessions trained side by side (lanes)."""
    dropout_embedding: Fraction = 0.0
    """Share of the item vector's entries dropped at the input."""
    dropout_hidden: Fraction = 0.0
    """Share of each layer's output dropped."""
    learning_rate: float = Field(default=0.05, gt=0)
    """Adagrad's learning rate."""
    momentum: Fraction = 0.0
    """Heavy-ball momentum."""
    n_sample: int = Field(default=2048, ge=0)
    """Negative samples a step, shared by the lanes, beside the other lanes' targets."""
    sample_alpha: float = Field(default=0.5, ge=0, le=1)
    """Samples are drawn with probability proportional to count to this power."""
    bpreg: float = Field(default=1.0, ge=0)
    """Weight of BPR-max's score regulariser."""
    elu_param: float = Field(default=0.0, ge=0)
    """ELU's parameter on BPR-max's scores; 0 leaves them linear."""
    logq: float = Field(default=0.0, ge=0)
    """Strength of cross-entropy's log-popularity correction."""
    epochs: int = Field(default=10, ge=1)
    """Most passes over the training sessions."""
