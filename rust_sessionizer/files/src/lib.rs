//! Event logs larger than memory to sessions: Parquet and CSV files in, one Parquet file out.
//!
//! Events are split by the hash of their visitor into partitions, which are kept in memory as far as there is room and else on
//! disk; partitions are cut into sessions one by one; the sessions of all partitions are put in order and written. What comes
//! out depends on the events and their order alone. The crate knows nothing of Python.

mod arrange;
mod csv_input;
mod cut;
mod error;
mod feed;
mod job;
mod lane;
mod layout;
mod output;
mod parquet_input;
mod run;
mod scratch;
mod settings;
mod shard;
mod split;
mod store;
mod watch;

pub use error::{Error, Result, size};
pub use feed::column_names;
pub use job::{Pending, Summary, join_shards, prepare_join, prepare_sessions, sessionize_files};
pub use settings::{Budget, CsvType, Settings, Shard, parse_size};
pub use watch::{Stage, Watch};
