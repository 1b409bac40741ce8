//! What the libraries below say (`tracing`), for Python's `logging`.
//!
//! Nothing is collected until a level was set. Then the lines wait in a queue, which a thread of Python empties: a
//! thread of tokio never waits for the interpreter's lock.

use std::{
    fmt::{self, Write},
    ptr,
    sync::{
        Condvar, Mutex, MutexGuard, Once, PoisonError,
        atomic::{
            AtomicPtr, AtomicU8,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
};

use pyo3::prelude::*;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
};

use crate::runtime;

/// Maximum number of lines that wait. Without it, a program that does not get to its log would hold all that a burst of
/// packets makes at the level TRACE: some 100,000 lines a second.
const LINES: usize = 1_000;

/// Maximum length of a line in bytes. A longer one is cut.
const LENGTH: usize = 4 * 1024;

/// The level as `logging` counts it. `logging` has no TRACE; 5 is the number that others use for it.
const LEVELS: [(u8, LevelFilter); 5] = [
    (40, LevelFilter::ERROR),
    (30, LevelFilter::WARN),
    (20, LevelFilter::INFO),
    (10, LevelFilter::DEBUG),
    (5, LevelFilter::TRACE),
];

/// The lowest level that is collected. 255 collects nothing.
static LOWEST: AtomicU8 = AtomicU8::new(u8::MAX);
/// The queue of this process, or null. What it points to is never freed.
static QUEUE: AtomicPtr<Queue> = AtomicPtr::new(ptr::null_mut());

struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// The number of forks before it was made. The queue of a parent may be locked for ever.
    forks: u32,
}

#[derive(Default)]
struct State {
    lines: Vec<Line>,
    /// The number of lines that found no room.
    dropped: u64,
    stopped: bool,
}

/// The level, the target and the text of a line.
type Line = (u8, String, String);

/// Collects what is at least at this level of `logging` from now on; nothing at 255. Returns whether a thread has to be
/// started that calls `log_next`.
#[pyfunction]
pub(crate) fn log_set(lowest: u8) -> bool {
    static INSTALLED: Once = Once::new();
    let starts = lowest < u8::MAX && existing().is_none();
    if starts {
        let queue = Queue { state: Mutex::default(), changed: Condvar::new(), forks: runtime::forks() };
        QUEUE.store(Box::into_raw(Box::new(queue)), Release);
    }
    if LOWEST.swap(lowest, AcqRel) != lowest {
        // No other subscriber can be in the way: the module has its own copy of the crate `tracing`.
        INSTALLED.call_once(|| drop(tracing::subscriber::set_global_default(Collector)));
        tracing::callsite::rebuild_interest_cache();
    }
    starts
}

/// Waits for lines, and returns them with the number of those that found no room. None after `log_stop`.
#[pyfunction]
pub(crate) fn log_next(py: Python<'_>) -> Option<(Vec<Line>, u64)> {
    let queue = existing()?;
    py.detach(|| {
        let mut state = queue.lock();
        while state.lines.is_empty() {
            if state.stopped {
                return None;
            }
            state = queue.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Some((std::mem::take(&mut state.lines), std::mem::take(&mut state.dropped)))
    })
}

/// Ends the wait of `log_next`, after the lines that are there.
#[pyfunction]
pub(crate) fn log_stop() {
    if let Some(queue) = existing() {
        queue.lock().stopped = true;
        queue.changed.notify_all();
    }
}

fn existing() -> Option<&'static Queue> {
    // SAFETY: a queue is never freed once it is in its place.
    let queue = unsafe { QUEUE.load(Acquire).as_ref() };
    queue.filter(|queue| queue.forks == runtime::forks())
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: Line) {
        let mut state = self.lock();
        if state.stopped {
            return;
        }
        if state.lines.len() >= LINES {
            state.dropped += 1;
            return;
        }
        state.lines.push(line);
        drop(state);
        self.changed.notify_one();
    }
}

/// Takes the events. What is said about spans would cost each of them a lock.
struct Collector;

impl Collector {
    fn filter() -> LevelFilter {
        let lowest = LOWEST.load(Relaxed);
        let mut filters = LEVELS.iter().rev();
        filters.find(|(level, _)| *level >= lowest).map_or(LevelFilter::OFF, |(_, filter)| *filter)
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Self::filter()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(Self::filter())
    }

    fn event(&self, event: &Event<'_>) {
        let Some(queue) = existing() else { return };
        let metadata = event.metadata();
        let mut text = Text(String::new());
        event.record(&mut text);
        queue.push((number(*metadata.level()), metadata.target().to_owned(), text.0));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn number(level: Level) -> u8 {
    LEVELS.iter().find(|(_, filter)| *filter == level).map_or(10, |(number, _)| *number)
}

/// The message, and then the fields with their names.
struct Text(String);

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value:?}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}

impl Text {
    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let before = if self.0.is_empty() { "" } else { " " };
        // A text that is cut takes nothing more.
        let _ = match field.name() {
            "message" => write!(self, "{value}"),
            name => write!(self, "{before}{name}={value}"),
        };
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LENGTH - self.0.len();
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        Err(fmt::Error)
    }
}
