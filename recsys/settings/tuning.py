"""The search for better parameters: what is searched, how, and for how long."""

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema, model_validator

from recsys.settings.base import Section
from recsys.settings.training import Metric

Number = Annotated[int | float, WithJsonSchema({"type": "number"})]
"""A number that stays whole where it was written so."""


class Dimension(Section):
    """The values that a search may give a parameter: a range, or a list of choices."""

    low: Number | None = None
    """The lowest value of a range. Of a parameter that takes a list, such as `layers`, a range gives the single entry."""
    high: Number | None = None
    """The highest value of a range, itself included."""
    step: Number | None = None
    """The distance between neighbouring values; None: any number, or any whole number where the parameter takes no other."""
    log: bool = False
    """Whether the search sees the range on a logarithmic scale."""
    choices: list[Any] | None = None
    """The values themselves, of any type, two at least."""

    @model_validator(mode="after")
    def _range_or_choices(self) -> "Dimension":
        if self.choices is not None:
            self._check_choices()
        elif self.low is None or self.high is None:
            raise ValueError("this is neither a range nor a list; write low and high, or choices")
        else:
            self._check_range()
        return self

    def _check_choices(self) -> None:
        if (self.low, self.high, self.step, self.log) != (None, None, None, False):
            raise ValueError("choices stands beside a range; keep choices, or low and high")
        if len(self.choices) < 2 or any(choice in self.choices[:place] for place, choice in enumerate(self.choices)):
            raise ValueError(f"choices is {self.choices}; write two different values at least, and none twice")

    def _check_range(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low is {self.low} and high is {self.high}; write a high above low")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"step is {self.step}; write a number above 0")
        if self.log and self.step is not None:
            raise ValueError("a logarithmic range has no steps; remove step or log")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range cannot start at {self.low}; write a low above 0")
        if self.step is not None and (rest := (Decimal(str(self.high)) - Decimal(str(self.low))) % Decimal(str(self.step))):
            raise ValueError(
                f"steps of {self.step} from {self.low} do not end at {self.high}; write high: {Decimal(str(self.high)) - rest}"
            )


class TuneSettings(Section):
    """The search of `snakemake tune`, which nothing else runs."""

    model: str = "gru4rec"
    """The family whose parameters are searched."""
    trials: int = Field(default=20, ge=1)
    """Trials in all; a higher number later adds the missing ones."""
    metric: Metric = "mrr@20"
    """The validation metric that is made as high as possible; in a trial it also takes the place of `training.metric`."""
    seed: int = Field(default=1, ge=0)
    """Of what is drawn, and of every trial's model."""
    parameters: dict[str, Any] = {}
    """Parameters that every trial shares, where they differ from the family's under `models`."""
    space: dict[str, Dimension] = {}
    """The parameters that are searched. Empty: the space that GRU4Rec's authors published for its loss, without what `parameters` fixes."""
    random_trials: int = Field(default=10, ge=1)
    """Trials that are drawn at random before the sampler (TPE) learns from them."""
    pruner: Literal["median", "none"] = "median"
    """`median`: end a trial whose best epoch so far is below the median of the finished ones at the same epoch. `none`: end none early."""
    warmup_trials: int = Field(default=5, ge=1)
    """Finished trials before any is pruned."""
    warmup_epochs: int = Field(default=1, ge=0)
    """First epochs of a trial that cannot end it."""
