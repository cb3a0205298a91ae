//! Python bindings: of the sessionizer, with tables in and out through Arrow's `PyCapsule` interface, of the trainer, of
//! the ranking, and of session-kNN.

mod column;
mod encode;
mod error;
mod files;
mod inference;
mod input;
mod lists;
mod live;
mod neighbours;
mod output;
mod ranking;
mod readable;
mod schedule;
mod sessionize;
mod training;
mod writable;

use pyo3::prelude::*;

/// Event logs to sessions.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::encode::encode;
    #[pymodule_export]
    use crate::error::{
        ColumnError, DiskSpaceError, FileError, GapError, IndexFileError, NullValueError, ScoreError, SessionizerError,
        SettingError, SizeError, StateError, TimeRangeError,
    };
    #[pymodule_export]
    use crate::files::{Summary, join_shards, sessionize_files};
    #[pymodule_export]
    use crate::inference::Network;
    #[pymodule_export]
    use crate::lists::{drop_repeats, filter_support, split};
    #[pymodule_export]
    use crate::live::Sessionizer;
    #[pymodule_export]
    use crate::neighbours::{Index, Parameters};
    #[pymodule_export]
    use crate::output::{Array, Table};
    #[pymodule_export]
    use crate::ranking::{ItemIndex, Ranks, rank};
    #[pymodule_export]
    use crate::schedule::{TrainingSchedule, training_schedule};
    #[pymodule_export]
    use crate::sessionize::{number_sessions, sessionize};
    #[pymodule_export]
    use crate::training::Trainer;

    #[pymodule_init]
    fn init(module: &pyo3::Bound<pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        crate::error::describe_exceptions(module.py())
    }
}
