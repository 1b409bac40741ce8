//! Keys.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    path::PathBuf,
};

use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::{PyBytes, PyString, PyType},
};
use twolane::{PublicKey, SecretKey, Signature, storage};

use crate::{data, error::Problem};

/// The public key that identifies a peer: an Ed25519 key, whose text (an id52) has 52 characters.
///
/// Made from an id52 (in either case) or from 32 bytes. Keys are equal, hashable and ordered like their id52s.
/// `str()` returns the id52.
///
/// Raises `InvalidKey` (a `ValueError`) if the value is not a key.
#[pyclass(frozen, eq, ord, module = "twolane", name = "PeerId")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PeerId(pub(crate) PublicKey);

#[pymethods]
impl PeerId {
    #[new]
    fn new(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = value.cast::<PyBytes>() {
            let Ok(bytes) = bytes.as_bytes().try_into() else {
                return Err(Problem::new("InvalidKey", "a public key has 32 bytes").into());
            };
            let key = PublicKey::from_bytes(&bytes).map_err(|error| Problem::of("InvalidKey", &error))?;
            return Ok(Self(key));
        }
        peer_from(value)
    }

    /// The text: 52 characters.
    #[getter]
    fn id52(&self) -> String {
        self.0.to_string()
    }

    /// Checks that this key made `signature` over exactly `message`. Raises `InvalidSignature` if it did not.
    fn verify(&self, message: &Bound<'_, PyAny>, signature: &Bound<'_, PyAny>) -> PyResult<()> {
        let signature = data::from_python(signature)?;
        let Ok(signature) = <&[u8; Signature::LENGTH]>::try_from(&*signature) else {
            return Err(Problem::new("InvalidSignature", "a signature has 64 bytes").into());
        };
        let message = data::from_python(message)?;
        let verified = self.0.verify(&message, &Signature::from_bytes(signature));
        Ok(verified.map_err(|error| Problem::of("InvalidSignature", &error))?)
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.as_bytes())
    }

    fn __str__(&self) -> String {
        self.id52()
    }

    fn __repr__(&self) -> String {
        format!("PeerId('{}')", self.0)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (String,)) {
        (slf.get_type(), (slf.get().id52(),))
    }
}

/// A secret key with its public key. The holder of the secret key *is* the peer.
///
/// `KeyPair()` is `KeyPair.generate()`. The secret is never shown, and a `KeyPair` cannot be pickled. `to_file`,
/// `to_bytes` and `to_hex` reveal the secret.
#[pyclass(frozen, eq, module = "twolane", name = "KeyPair")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyPair(pub(crate) SecretKey);

#[pymethods]
impl KeyPair {
    #[new]
    fn new() -> PyResult<Self> {
        Self::generate()
    }

    /// Generates a new key from the operating system's random numbers.
    #[staticmethod]
    fn generate() -> PyResult<Self> {
        let key = SecretKey::try_generate().map_err(|error| Problem::of("TwolaneError", &error))?;
        Ok(Self(key))
    }

    /// Reads a key file. With `create`, a missing file is created (mode 0600). Several programs that do so at the
    /// same time get the same key.
    ///
    /// Raises `KeyFileError` (an `OSError`) if the file does not exist (`FileNotFoundError`), if others can read it
    /// (`PermissionError`), or if it does not hold a key. An existing file is never overwritten.
    #[staticmethod]
    #[pyo3(signature = (path, *, create = false))]
    fn from_file(py: Python<'_>, path: PathBuf, create: bool) -> PyResult<Self> {
        let read = py.detach(|| if create { storage::file::load_or_create(path) } else { storage::file::load(path) });
        Ok(Self(read.map_err(Problem::from)?))
    }

    /// Writes a key file, mode 0600, completely or not at all.
    ///
    /// Raises `KeyFileError` (an `OSError`) if something exists at the path (`FileExistsError`), or if the file
    /// cannot be written.
    fn to_file(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        Ok(py.detach(|| storage::file::create(path, &self.0)).map_err(Problem::from)?)
    }

    /// Makes a key pair from the 32 bytes that `to_bytes` returns.
    #[staticmethod]
    fn from_bytes(seed: &[u8]) -> PyResult<Self> {
        let seed = seed.try_into().map_err(|_| Problem::new("InvalidKey", "a secret key has 32 bytes"))?;
        Ok(Self(SecretKey::from_bytes(seed)))
    }

    /// Makes a key pair from the 64 hexadecimal digits that `to_hex` returns.
    #[staticmethod]
    fn from_hex(text: &str) -> PyResult<Self> {
        Ok(Self(SecretKey::from_hex(text).map_err(|error| Problem::of("InvalidKey", &error))?))
    }

    /// Reveals the secret: its 32 bytes.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.to_bytes().as_slice())
    }

    /// Reveals the secret: 64 hexadecimal digits.
    fn to_hex<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        PyString::new(py, &self.0.to_hex())
    }

    /// The public key.
    #[getter]
    fn peer_id(&self) -> PeerId {
        PeerId(self.0.public_key())
    }

    /// Signs exactly `message`. Returns 64 bytes, which `PeerId.verify` checks.
    fn sign<'py>(&self, py: Python<'py>, message: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let message = data::from_python(message)?;
        Ok(PyBytes::new(py, self.0.sign(&message).as_bytes()))
    }

    fn __repr__(&self) -> String {
        format!("<KeyPair of {}>", self.0.public_key())
    }

    fn __hash__(&self) -> u64 {
        self.peer_id().__hash__()
    }

    /// A key never changes, so a copy of it is itself.
    fn __copy__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __deepcopy__<'py>(slf: PyRef<'py, Self>, _memo: &Bound<'py, PyAny>) -> PyRef<'py, Self> {
        slf
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a KeyPair is not pickled, since that would spread the secret: use to_bytes()"))
    }
}

/// Returns a peer that is given as a `PeerId` or as its text.
pub(crate) fn peer_from(value: &Bound<'_, PyAny>) -> PyResult<PeerId> {
    if let Ok(peer) = value.cast::<PeerId>() {
        return Ok(*peer.get());
    }
    let Ok(text) = value.cast::<PyString>() else {
        let name = value.get_type().name()?;
        return Err(PyTypeError::new_err(format!("a PeerId or an id52 is needed, not {name}")));
    };
    let key = text.to_str()?.parse::<PublicKey>().map_err(|error| Problem::of("InvalidKey", &error))?;
    Ok(PeerId(key))
}

/// Converts a number of seconds to a duration. Infinity becomes the maximum duration.
pub(crate) fn seconds(value: f64) -> PyResult<std::time::Duration> {
    if value == f64::INFINITY {
        return Ok(std::time::Duration::MAX);
    }
    std::time::Duration::try_from_secs_f64(value)
        .map_err(|_| PyValueError::new_err(format!("{value} is no number of seconds from 0 on")))
}
