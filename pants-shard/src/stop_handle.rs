//! The way to end a runtime from elsewhere.

use std::sync::Arc;

use crate::shutdown::{Shutdown, Stage};

/// Ends a runtime from any thread; cheap to clone.
///
/// # Examples
///
/// With the crate `signal-hook`, the first SIGTERM drains the runtime:
///
/// ```no_run
/// use pants_shard::{Config, Runtime};
/// use signal_hook::{consts::SIGTERM, iterator::Signals};
///
/// let mut signals = Signals::new([SIGTERM])?;
/// let running = Runtime::new(Config::load()?)?.start(|_shard| Ok(()))?;
/// let handle = running.stop_handle();
/// std::thread::spawn(move || {
///     signals.forever().next();
///     handle.drain();
/// });
/// running.join()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct StopHandle(pub(crate) Arc<Shutdown>);

impl StopHandle {
    /// As [`Running::drain`](crate::Running::drain).
    pub fn drain(&self) {
        self.0.advance(Stage::Draining);
    }

    /// As [`Running::stop`](crate::Running::stop).
    pub fn stop(&self) {
        self.0.advance(Stage::Stopping);
    }
}
