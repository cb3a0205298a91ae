"""How finely a log is counted over time: by day where it lasts days, by the minute where it lasts hours."""

from dataclasses import dataclass

import numpy as np

from recsys.sessions.split import iso

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
WIDTHS = {"second": 1_000, "minute": MINUTE, "hour": HOUR, "day": DAY, "week": 7 * DAY}
"""Milliseconds of a step by its name; a week begins on Monday."""
_LONGEST = {"second": 3 * MINUTE, "minute": 4 * HOUR, "hour": 3 * DAY, "day": 3 * 366 * DAY}


@dataclass(frozen=True)
class Timeline:
    """Steps of equal width over the time of a log.

    Attributes
    ----------
    step
        second, minute, hour, day or week.
    begin
        Number of the first step, counted from 1970-01-01 UTC (weeks: from the Monday after).
    length
        How many steps there are.
    """

    step: str
    begin: int
    length: int

    @classmethod
    def between(cls, first: int, last: int) -> "Timeline":
        """The steps from `first` to `last` (milliseconds since 1970-01-01 UTC), a few hundred or a thousand of them."""
        step = next((name for name, longest in _LONGEST.items() if last - first <= longest), "week")
        begin, end = (int(_number(np.int64(time), step)) for time in (first, last))
        return cls(step, begin, end - begin + 1)

    def starts(self) -> list[str]:
        """When each step begins, ISO 8601."""
        offset = 4 * DAY if self.step == "week" else 0
        return [iso((self.begin + number) * WIDTHS[self.step] + offset) for number in range(self.length)]

    def count(self, times: np.ndarray, weights: np.ndarray | None = None) -> list[int]:
        """How many of `times` (int64 [N], milliseconds), each counted `weights` times, lie in each step."""
        return np.bincount(_number(times, self.step) - self.begin, weights=weights, minlength=self.length).astype(np.int64).tolist()


def _number(time: np.ndarray, step: str) -> np.ndarray:
    # 1970-01-01 was a Thursday; the Monday after is four days later.
    return (time - (4 * DAY if step == "week" else 0)) // WIDTHS[step]
