//! The measured process: starting and ending it, what its threads did, and what they asked of the kernel.

pub mod command;
mod group;
mod probe;
mod sample;
pub mod syscalls;
mod usage;
pub mod watch;

pub use group::end_all;
pub use sample::{Process, Sample, own_cpus};
pub use usage::{Resident, ServerUse, Switches, ThreadUse};
