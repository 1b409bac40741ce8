//! Delivery from tokio's threads to an event loop: a queue for each event loop, and a socket that wakes the loop.
//!
//! A thread that has an item for an event loop puts it into the loop's queue, and writes one byte to the socket if
//! the loop is not awake yet. The loop watches the other end (`add_reader`) and takes all items from the queue. So
//! no thread of tokio ever waits for the interpreter's lock, and a burst costs one wake-up. A loop that cannot
//! watch a socket (Windows' proactor) is called with `call_soon_threadsafe`, from a thread that may wait.

use std::{
    cell::RefCell,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pyo3::{
    exceptions::{PyKeyboardInterrupt, PyNotImplementedError, PyRuntimeError, PySystemExit},
    intern,
    prelude::*,
    sync::PyOnceLock,
    types::{PyDict, PyWeakrefReference},
};

use crate::runtime::{self, Here};

/// Converts a result to a Python object, on the thread of the event loop.
pub(crate) type Convert = Box<dyn for<'py> FnOnce(Python<'py>) -> PyResult<Py<PyAny>> + Send>;

/// The place of a caller that waits on an event loop.
pub(crate) trait Waiting: Send + Sync {
    /// Tells the caller, on the thread of the event loop, that it may poll again.
    fn fire(&self, py: Python<'_>, bridge: &Arc<Bridge>) -> PyResult<()>;
}

/// An item for an event loop.
pub(crate) enum Item {
    /// Something may be ready: the waiting caller should poll again.
    Wake(Arc<dyn Waiting>),
    /// A future has its result.
    Done { future: Py<PyAny>, result: Convert },
    /// A function is to be called with an argument that has arrived.
    Call { callback: Arc<Py<PyAny>>, argument: Convert },
}

/// The queue of one event loop.
pub(crate) struct Bridge {
    queue: Mutex<Queue>,
    signal: Signal,
}

#[derive(Default)]
struct Queue {
    items: Vec<Item>,
    awake: bool,
    closed: bool,
}

enum Signal {
    #[cfg(unix)]
    Socket(std::os::unix::net::UnixStream),
    Threadsafe(Py<PyWeakrefReference>),
}

/// The callable that the event loop runs when the socket is readable. Only the loop holds it, so it is dropped when
/// the loop is closed.
#[pyclass(frozen, module = "twolane._native")]
struct Drain {
    bridge: Here<Arc<Bridge>>,
    #[cfg(unix)]
    socket: Option<std::os::unix::net::UnixStream>,
}

/// The event loops of this thread: their addresses, and weak references that prove that they still exist. Bridges from
/// before a fork are the parent's.
type Known = Vec<(usize, Py<PyWeakrefReference>, Here<Arc<Bridge>>)>;

thread_local! {
    static LOOPS: RefCell<Known> = const { RefCell::new(Vec::new()) };
}

impl Bridge {
    /// Returns the running event loop and its bridge.
    pub(crate) fn current<'py>(py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Arc<Self>)> {
        let event_loop = running(py)?;
        let address = event_loop.as_ptr() as usize;
        let known = LOOPS.with_borrow(|loops| {
            let mut ours = loops.iter().filter_map(|(known, weak, bridge)| Some((known, weak, bridge.ours()?)));
            let found = ours.find(|(known, ..)| **known == address);
            found.map(|(_, weak, bridge)| (weak.clone_ref(py), Arc::clone(bridge)))
        });
        if let Some((weak, bridge)) = known
            && !bridge.lock().closed
            && weak.bind(py).call0()?.is(&event_loop)
        {
            return Ok((event_loop, bridge));
        }
        let weak = PyWeakrefReference::new(&event_loop)?;
        let bridge = Self::make(py, &event_loop, &weak)?;
        let gone = LOOPS.with_borrow_mut(|loops| {
            let (keep, gone): (Known, Known) = std::mem::take(loops).into_iter().partition(|(known, _, bridge)| {
                *known != address && bridge.ours().is_some_and(|bridge| !bridge.lock().closed)
            });
            *loops = keep;
            loops.push((address, weak.unbind(), Here::new(Arc::clone(&bridge))));
            gone
        });
        // The removed entries are dropped here, outside the borrow, because their drop may run Python code.
        drop(gone);
        Ok((event_loop, bridge))
    }

    /// Gives an item to the event loop, from any thread. After the loop is closed, the item is dropped.
    pub(crate) fn push(self: &Arc<Self>, item: Item) {
        let mut queue = self.lock();
        if queue.closed {
            drop(queue);
            return drop(item);
        }
        queue.items.push(item);
        let sleeping = !std::mem::replace(&mut queue.awake, true);
        drop(queue);
        if sleeping {
            self.wake();
        }
    }

    #[cfg(unix)]
    fn make(
        py: Python<'_>,
        event_loop: &Bound<'_, PyAny>,
        weak: &Bound<'_, PyWeakrefReference>,
    ) -> PyResult<Arc<Self>> {
        use std::os::{fd::AsRawFd, unix::net::UnixStream};

        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        let fd = theirs.as_raw_fd();
        let bridge = Arc::new(Self { queue: Mutex::default(), signal: Signal::Socket(ours) });
        let drain = Bound::new(py, Drain { bridge: Here::new(Arc::clone(&bridge)), socket: Some(theirs) })?;
        match event_loop.call_method1(intern!(py, "add_reader"), (fd, drain)) {
            Ok(_) => Ok(bridge),
            Err(error) if error.is_instance_of::<PyNotImplementedError>(py) => Ok(Self::threadsafe(weak)),
            Err(error) => Err(error),
        }
    }

    #[cfg(not(unix))]
    fn make(_: Python<'_>, _: &Bound<'_, PyAny>, weak: &Bound<'_, PyWeakrefReference>) -> PyResult<Arc<Self>> {
        Ok(Self::threadsafe(weak))
    }

    fn threadsafe(weak: &Bound<'_, PyWeakrefReference>) -> Arc<Self> {
        Arc::new(Self { queue: Mutex::default(), signal: Signal::Threadsafe(weak.clone().unbind()) })
    }

    fn wake(self: &Arc<Self>) {
        match &self.signal {
            #[cfg(unix)]
            Signal::Socket(socket) => {
                use std::io::Write;
                // At most one byte is in the socket, so there is room for it. An error means that the event loop
                // and the other end are gone.
                let _ = (&*socket).write(&[1]);
            }
            Signal::Threadsafe(_) => {
                let bridge = Arc::clone(self);
                if let Ok(handle) = runtime::handle() {
                    handle.spawn_blocking(move || bridge.call_soon_threadsafe());
                }
            }
        }
    }

    fn call_soon_threadsafe(self: &Arc<Self>) {
        #[cfg_attr(not(unix), expect(irrefutable_let_patterns, reason = "there is one kind on Windows"))]
        let Signal::Threadsafe(weak) = &self.signal else { return };
        let called = Python::try_attach(|py| {
            let event_loop = weak.bind(py).call0()?;
            let drain = Drain {
                bridge: Here::new(Arc::clone(self)),
                #[cfg(unix)]
                socket: None,
            };
            event_loop.call_method1(intern!(py, "call_soon_threadsafe"), (drain,)).map(drop)
        });
        // The event loop is closed or gone, or the interpreter is gone.
        if !matches!(called, Some(Ok(()))) {
            self.close();
        }
    }

    /// Puts items back that were taken and not delivered, before those that have come since.
    fn put_back(self: &Arc<Self>, mut items: Vec<Item>) {
        let mut queue = self.lock();
        items.append(&mut queue.items);
        queue.items = items;
        let wakes = !queue.items.is_empty() && !std::mem::replace(&mut queue.awake, true);
        drop(queue);
        if wakes {
            self.wake();
        }
    }

    /// Returns whether the event loop was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        let items = std::mem::take(&mut queue.items);
        drop(queue);
        drop(items);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Drain {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let Some(bridge) = self.bridge.ours() else { return Ok(()) };
        #[cfg(unix)]
        if let Some(socket) = &self.socket {
            use std::io::Read;
            let _ = (&*socket).read(&mut [0; 16]);
        }
        let items = {
            let mut queue = bridge.lock();
            queue.awake = false;
            std::mem::take(&mut queue.items)
        };
        let mut items = items.into_iter();
        while let Some(item) = items.next() {
            let Err(error) = item.deliver(py, bridge) else { continue };
            // These two end an event loop, whichever callback raises them. What is left waits for the loop to run
            // again.
            if error.is_instance_of::<PySystemExit>(py) || error.is_instance_of::<PyKeyboardInterrupt>(py) {
                bridge.put_back(items.collect());
                return Err(error);
            }
            if let Err(unreported) = report(py, &error) {
                unreported.write_unraisable(py, None);
            }
        }
        Ok(())
    }
}

#[cfg(unix)]
impl Drop for Drain {
    fn drop(&mut self) {
        if self.socket.is_some()
            && let Some(bridge) = self.bridge.ours()
        {
            bridge.close();
        }
    }
}

/// Returns the running event loop.
fn running(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static RUNNING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    RUNNING.import(py, "asyncio", "get_running_loop")?.call0().map_err(|error| {
        if !error.is_instance_of::<PyRuntimeError>(py) {
            return error;
        }
        PyRuntimeError::new_err(
            "no asyncio event loop is running in this thread: twolane needs one (of trio and other libraries it knows \
             nothing; anyio works on its asyncio backend)",
        )
    })
}

/// Tells the event loop of an exception that no caller gets, as it is told of those of its other callbacks.
fn report(py: Python<'_>, error: &PyErr) -> PyResult<()> {
    let context = PyDict::new(py);
    context.set_item("message", "twolane could not hand over a result, a stream or a request")?;
    context.set_item("exception", error.value(py))?;
    running(py)?.call_method1(intern!(py, "call_exception_handler"), (context,)).map(drop)
}

impl Item {
    fn deliver(self, py: Python<'_>, bridge: &Arc<Bridge>) -> PyResult<()> {
        match self {
            Self::Wake(slot) => slot.fire(py, bridge),
            Self::Done { future, result } => {
                let future = future.bind(py);
                if future.call_method0(intern!(py, "done"))?.is_truthy()? {
                    // The future was cancelled in the meantime. The result is dropped with everything that it
                    // holds.
                    return Ok(());
                }
                match result(py) {
                    Ok(value) => future.call_method1(intern!(py, "set_result"), (value,))?,
                    Err(error) => future.call_method1(intern!(py, "set_exception"), (error,))?,
                };
                Ok(())
            }
            Self::Call { callback, argument } => {
                let argument = argument(py)?;
                callback.bind(py).call1((argument,))?;
                Ok(())
            }
        }
    }
}
