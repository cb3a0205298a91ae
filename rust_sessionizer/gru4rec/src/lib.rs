//! `GRU4Rec`'s training on the CPU (Hidasi et al., ICLR 2016; Hidasi & Karatzoglou, CIKM 2018), on plain slices.
//!
//! The crate knows nothing of Python. A [`Trainer`] runs blocks of steps of a session-parallel [`Schedule`] over arrays
//! that its caller owns. Results do not depend on the number of threads, and everything random follows from the seed
//! and the number of the step.
//!
//! Each step is some ten phases; the tasks of a phase are worked on by all threads, in any order. What is cut into tasks,
//! and in which order their results are put together, is the same for any number of threads. Matrices lie as the next
//! product needs them, with the lanes of the batch beside each other wherever elementwise work is done, and what is
//! elementwise is done where its operands have just been made. Unsafe code is in `team` and in `prefetch` alone.
//!
//! A [`Network`] is what training made, as a server asks it: the states after sessions, or after one click more.

// Everything a vector loop calls must be inlined into it, to be compiled for the same registers as the loop.
#![allow(clippy::inline_always)]
// Loops over several arrays at once, and over constant numbers of registers, read best with an index.
#![allow(clippy::needless_range_loop)]

mod adagrad;
mod cell;
mod error;
mod gates;
mod loss;
mod math;
mod network;
mod prefetch;
mod product;
mod random;
mod rows;
mod sampler;
mod schedule;
mod settings;
mod team;
mod trainer;

pub use adagrad::Learned;
pub use error::{Error, Result};
pub use network::{Inputs, Network, States, Weights};
pub use schedule::Schedule;
pub use settings::{Embedding, Loss, Settings};
pub use trainer::{Arrays, LayerArrays, Masks, PHASES, Trainer};
