//! Arrays of Python's that are changed in place: the only unsafe code of this crate.

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;

use crate::error::ColumnError;

/// An array of Python's that may be written to.
pub(crate) struct Writable {
    name: String,
    buffer: PyBuffer<f32>,
}

impl Writable {
    pub(crate) fn new(array: &Bound<PyAny>, name: String, shape: &[usize]) -> PyResult<Self> {
        let refused = |why: String| Err(ColumnError::new_err(format!("{name} {why}")));
        let buffer = match PyBuffer::<f32>::get(array) {
            Ok(buffer) => buffer,
            Err(error) => return refused(format!("must be a NumPy array of float32: {error}")),
        };
        if buffer.shape() != shape {
            return refused(format!("has the shape {:?} where {shape:?} is needed", buffer.shape()));
        }
        if !buffer.is_c_contiguous() {
            return refused("must be C-contiguous; numpy.ascontiguousarray makes it so".to_owned());
        }
        if buffer.readonly() {
            return refused("is read-only, but training changes it in place".to_owned());
        }
        Ok(Self { name, buffer })
    }
}

/// The entries of the arrays, which must not overlap.
#[allow(unsafe_code)]
pub(crate) fn exclusive(arrays: &mut [Writable]) -> PyResult<Vec<&mut [f32]>> {
    let mut ranges: Vec<_> = arrays
        .iter()
        .filter(|array| array.buffer.item_count() > 0)
        .map(|array| {
            let begin = array.buffer.buf_ptr().addr();
            (begin, begin + array.buffer.len_bytes(), array.name.as_str())
        })
        .collect();
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        if pair[0].1 > pair[1].0 {
            return Err(ColumnError::new_err(format!("{} and {} share memory", pair[0].2, pair[1].2)));
        }
    }
    Ok(arrays
        .iter()
        .map(|array| match array.buffer.item_count() {
            0 => &mut [][..],
            // SAFETY: the buffer is writable, C-contiguous, of `item_count` entries of f32 and aligned for them (`PyBuffer`
            // checks type and alignment); it is kept alive by `arrays`, which the slice borrows; and no two slices overlap, as
            // just checked. That Python code changes an array while training runs on it is left to the caller, as in NumPy.
            count => unsafe { std::slice::from_raw_parts_mut(array.buffer.buf_ptr().cast(), count) },
        })
        .collect())
}
