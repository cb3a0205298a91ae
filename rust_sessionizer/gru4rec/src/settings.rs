//! What is trained, and how.

use crate::error::{Error, Result};

/// The ranking loss (Hidasi & Karatzoglou, CIKM 2018, section 3).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// Softmax cross-entropy.
    CrossEntropy {
        /// Strength of the log-popularity correction.
        logq: f32,
    },
    /// BPR-max with its score regulariser.
    BprMax {
        /// Weight of the regulariser.
        bpreg: f32,
        /// ELU's parameter on the scores; 0 leaves them linear.
        elu: f32,
    },
}

/// What an input item is for the first layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Embedding {
    /// The item's row of the table that scores it.
    Shared,
    /// A row of a table of its own, of this width.
    Separate(usize),
    /// A row of a table with an entry a gate and unit: the product of the gates' weights with the item's one-hot vector.
    None,
}

/// The parameters of the model and its training.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Units of each GRU layer; the last one is also the width of the item table.
    pub layers: Vec<usize>,
    /// What an input item is for the first layer.
    pub embedding: Embedding,
    /// The ranking loss.
    pub loss: Loss,
    /// Sessions trained side by side, by which the loss is divided.
    pub batch_size: usize,
    /// Share of the item vector's entries dropped at the input.
    pub dropout_embedding: f32,
    /// Share of each layer's output dropped.
    pub dropout_hidden: f32,
    /// Adagrad's learning rate.
    pub learning_rate: f32,
    /// Heavy-ball momentum.
    pub momentum: f32,
    /// Negative samples a step.
    pub n_sample: usize,
    /// Samples are drawn with probability proportional to count to this power.
    pub sample_alpha: f64,
    /// What everything random is derived from, together with the number of the step.
    pub seed: u64,
}

impl Settings {
    /// Entries of the row that an input item is looked up as.
    #[must_use]
    pub fn input_width(&self) -> usize {
        match self.embedding {
            Embedding::Shared => self.output_width(),
            Embedding::Separate(width) => width,
            Embedding::None => self.layers.first().copied().unwrap_or(0) * 3,
        }
    }

    /// Units of the last layer: entries of a row of the item table.
    #[must_use]
    pub fn output_width(&self) -> usize {
        self.layers.last().copied().unwrap_or(0)
    }

    pub(crate) fn check(&self) -> Result<()> {
        let refused = |name, value: String, expected| Err(Error::Setting { name, value, expected });
        if self.layers.is_empty() || self.layers.contains(&0) {
            return refused("layers", format!("{:?}", self.layers), "one or more numbers of units, each 1 or more");
        }
        if self.embedding == Embedding::Separate(0) {
            return refused("embedding_width", "0".to_owned(), "1 or more");
        }
        if self.embedding == Embedding::None && self.dropout_embedding != 0.0 {
            let expected = "0 where items have no embedding";
            return refused("dropout_embedding", self.dropout_embedding.to_string(), expected);
        }
        if self.batch_size == 0 {
            return refused("batch_size", "0".to_owned(), "1 or more");
        }
        for (name, share) in [
            ("dropout_embedding", self.dropout_embedding),
            ("dropout_hidden", self.dropout_hidden),
            ("momentum", self.momentum),
        ] {
            if !(0.0..1.0).contains(&share) {
                return refused(name, share.to_string(), "at least 0 and below 1");
            }
        }
        if !self.sample_alpha.is_finite() {
            return refused("sample_alpha", self.sample_alpha.to_string(), "a finite number");
        }
        Ok(())
    }
}
