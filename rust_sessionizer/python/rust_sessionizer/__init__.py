"""Event logs to sessions."""

from rust_sessionizer._native import (
    Array,
    ColumnError,
    GapError,
    NullValueError,
    SessionizerError,
    SettingError,
    SizeError,
    Table,
    TimeRangeError,
    TrainingSchedule,
    drop_repeats,
    encode,
    filter_support,
    sessionize,
    training_schedule,
)

__all__ = [
    "Array",
    "ColumnError",
    "GapError",
    "NullValueError",
    "SessionizerError",
    "SettingError",
    "SizeError",
    "Table",
    "TimeRangeError",
    "TrainingSchedule",
    "drop_repeats",
    "encode",
    "filter_support",
    "sessionize",
    "training_schedule",
]
