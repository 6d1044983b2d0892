//! Where and with what a run was made, so that its numbers mean something later.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::proc;

/// Where and with what a run was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// The kernel's release.
    pub kernel: Option<String>,
    /// The model of the CPUs.
    pub cpu_model: Option<String>,
    /// How many of them this process may use.
    pub cpus: usize,
    /// The commit that this program was built from.
    pub commit: Option<String>,
    /// The version of this program.
    pub program: String,
    /// Whether it was built without optimisation: then its numbers say little.
    pub debug_build: bool,
}

impl Environment {
    /// What can be found out. What cannot is left out.
    pub fn read() -> Self {
        let read = |path| fs::read_to_string(path).ok();
        Self {
            kernel: read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
            cpu_model: read("/proc/cpuinfo").and_then(|text| proc::parse_cpu_model(&text)),
            cpus: crate::server::own_cpus().numbers().len(),
            commit: option_env!("PANTS_LOAD_COMMIT").map(str::to_owned),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            debug_build: cfg!(debug_assertions),
        }
    }
}
