"""Parameters of GRU4Rec."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from recsys.settings.base import Fraction, Section


class GRU4RecParameters(Section):
    """GRU4Rec (Hidasi et al., ICLR 2016; Hidasi & Karatzoglou, CIKM 2018)."""

    layers: list[Annotated[int, Field(ge=1)]] = Field(default=[100], min_length=1)
    """Units of each GRU layer; the last one is also the width of the item table."""
    embedding: Literal["shared", "separate", "none"] = "shared"
    """What a click is for the first layer: the item's row of the table that scores items (`shared`), a row of a table of its own
    (`separate`), or the item's one-hot vector (`none`: a row of three gates' weights)."""
    embedding_width: int | None = Field(default=None, ge=1)
    """Width of the separate table's rows."""
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
    average: Fraction = 0.0
    """Above 0, the model is the moving average of the weights after each epoch, of which an epoch leaves this share; 0 takes the last
    epoch's weights."""
    members: int = Field(default=1, ge=1)
    """Networks that differ by their seed alone and are scored together: each session's scores are divided by their deviation, network by
    network, and added (a deep ensemble, Lakshminarayanan et al., NeurIPS 2017). Training takes as many times as long."""

    @model_validator(mode="after")
    def _embedding_is_whole(self) -> "GRU4RecParameters":
        if (self.embedding == "separate") != (self.embedding_width is not None):
            raise ValueError(
                f"embedding is {self.embedding!r} and embedding_width {self.embedding_width}; "
                "a separate embedding needs a width (such as 100), the others have none"
            )
        if self.embedding == "none" and self.dropout_embedding:
            raise ValueError(
                f"dropout_embedding is {self.dropout_embedding}, but without an embedding there is nothing to drop; set it to 0"
            )
        return self

    @property
    def input_width(self) -> int:
        """Entries of the row that a click is looked up as."""
        return {"shared": self.layers[-1], "separate": self.embedding_width or 0, "none": 3 * self.layers[0]}[self.embedding]
