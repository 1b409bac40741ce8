//! Bytes from Python, without a copy where that is safe, and bytes for Python.

use bytes::Bytes;
use pyo3::{
    buffer::PyBuffer,
    exceptions::PyTypeError,
    intern,
    prelude::*,
    types::{PyBytes, PyMemoryView},
};

/// Below this length in bytes, a copy is cheaper than a reference-counted object that another thread releases.
const SMALL: usize = 16 * 1024;

/// Returns the bytes of a bytes-like object. Large data of a `bytes`, or of a `memoryview` of a `bytes`, is not
/// copied. Data of other objects is copied, because Python code could change it while it is sent.
pub(crate) fn from_python(data: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    if let Ok(bytes) = data.cast::<PyBytes>() {
        let slice = bytes.as_bytes();
        if slice.len() < SMALL {
            return Ok(Bytes::copy_from_slice(slice));
        }
        return Ok(Owned::of(bytes, slice));
    }
    let buffer = PyBuffer::<u8>::get(data).map_err(|_| {
        let name = data.get_type().name().map_or_else(|_| "this".to_owned(), |name| name.to_string());
        PyTypeError::new_err(format!("bytes, bytearray or a memoryview of bytes is needed, not {name}"))
    })?;
    if buffer.readonly()
        && buffer.len_bytes() >= SMALL
        && buffer.is_c_contiguous()
        && let Ok(view) = data.cast::<PyMemoryView>()
        && let Ok(owner) = view.getattr(intern!(view.py(), "obj"))
        && let Ok(bytes) = owner.cast::<PyBytes>()
    {
        let (whole, part) = (bytes.as_bytes(), buffer.buf_ptr() as usize);
        let start = part.wrapping_sub(whole.as_ptr() as usize);
        if let Some(slice) = start.checked_add(buffer.len_bytes()).and_then(|end| whole.get(start..end)) {
            return Ok(Owned::of(bytes, slice));
        }
    }
    Ok(buffer.to_vec(data.py())?.into())
}

/// A part of a `bytes`, which cannot change, with a reference that keeps the object alive.
struct Owned {
    _object: Py<PyBytes>,
    start: *const u8,
    len: usize,
}

// SAFETY: a `bytes` never changes, and the reference is released by the next thread that holds the interpreter's
// lock.
unsafe impl Send for Owned {}

impl Owned {
    fn of(object: &Bound<'_, PyBytes>, part: &[u8]) -> Bytes {
        Bytes::from_owner(Self { _object: object.clone().unbind(), start: part.as_ptr(), len: part.len() })
    }
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the bytes live as long as the object, to which this value holds a reference, and never change.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

/// Received bytes, which a `memoryview` shows without a copy.
#[pyclass(frozen, module = "twolane._native")]
pub(crate) struct Chunk(Bytes);

impl Chunk {
    /// Returns a `memoryview` of the bytes.
    pub(crate) fn view(py: Python<'_>, bytes: Bytes) -> PyResult<Py<PyAny>> {
        let chunk = Bound::new(py, Self(bytes))?;
        Ok(PyMemoryView::from(chunk.as_any())?.into_any().unbind())
    }
}

#[pymethods]
impl Chunk {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    /// # Safety
    ///
    /// As Python's buffer protocol requires: `view` is valid.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut pyo3::ffi::Py_buffer,
        flags: std::ffi::c_int,
    ) -> PyResult<()> {
        let bytes = &slf.get().0;
        let (start, len) = (bytes.as_ptr().cast_mut().cast(), bytes.len() as pyo3::ffi::Py_ssize_t);
        // SAFETY: the bytes live as long as the object, to which the view gets a reference, and are read-only.
        let filled = unsafe { pyo3::ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, len, 1, flags) };
        if filled == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}
