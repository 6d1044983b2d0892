//! Building the programs that are compared, and finding them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::contestant::{Contestant, Kind, Program};
use crate::point::Work;
use crate::rounds;

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// The project's root.
    root: PathBuf,
    /// The release directories of the project's workspace and of this one.
    project: PathBuf,
    own: PathBuf,
}

/// A program that cargo builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Binary {
    /// Of the project's own workspace.
    Project(&'static str),
    /// Of the package `contestants`.
    Own(&'static str),
}

/// The client of all of them.
pub(crate) const CLIENT: Binary = Binary::Own("bare-client");

/// What proxies stand before.
pub(crate) const BACKEND: Binary = Binary::Own(rounds::BACKEND);

/// What latencies are measured with.
pub(crate) const GENERATOR: Binary = Binary::Project("pants-load");

impl Programs {
    /// Asks cargo where it puts what it builds.
    ///
    /// # Errors
    ///
    /// In one line.
    pub(crate) fn find() -> Result<Self, String> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here.join("../..").canonicalize().map_err(|error| format!("{}: {error}", here.display()))?;
        Ok(Self { project: release_directory(&root)?, own: release_directory(here)?, root })
    }

    /// Where a program is.
    pub(crate) fn path(&self, binary: Binary) -> PathBuf {
        match binary {
            Binary::Project(name) => self.project.join(name),
            Binary::Own(name) => self.own.join(name),
        }
    }

    /// The project's root.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Builds what these contestants need for these kinds of work, and `others`.
    ///
    /// # Errors
    ///
    /// If cargo fails, which has said why.
    pub(crate) fn build(&self, contestants: &[&Contestant], works: &[Work], others: &[Binary]) -> Result<(), String> {
        let mut binaries: BTreeSet<Binary> = others.iter().copied().collect();
        for work in works {
            let taking_part = contestants.iter().filter(|contestant| contestant.works.contains(work));
            binaries.extend(taking_part.filter_map(|contestant| binary(contestant, *work)));
        }
        let names = |pick: fn(&Binary) -> Option<&'static str>| -> Vec<&'static str> {
            binaries.iter().filter_map(pick).collect()
        };
        let project = names(|binary| if let Binary::Project(name) = binary { Some(name) } else { None });
        let own = names(|binary| if let Binary::Own(name) = binary { Some(name) } else { None });
        build(&self.root, &project, &[])?;
        // The peers bring most of what is to be built.
        let peers = contestants.iter().any(|contestant| contestant.kind == Kind::Framework);
        let features: &[&str] = if peers { &[] } else { &["--no-default-features"] };
        build(&self.root.join("benches/side-by-side"), &own, features)
    }
}

/// The program that a contestant's work is done by, if cargo builds it.
pub(crate) fn binary(contestant: &Contestant, work: Work) -> Option<Binary> {
    match (contestant.program, work) {
        (Program::Own(name), _) => Some(Binary::Own(name)),
        (Program::Pants, Work::Echo | Work::Churn) => Some(Binary::Project("pants-echo")),
        (Program::Pants, Work::Proxy) => Some(Binary::Project("pants-proxy")),
        (Program::Pants, Work::Timers) => Some(Binary::Own("pants-timers")),
        (Program::Pants, Work::Lines | Work::Udp | Work::Broadcast | Work::IdleTimeouts) => Some(Binary::Own("pants")),
        (Program::Haproxy | Program::Nginx, _) => None,
    }
}

/// Builds some programs of the workspace in a directory, as they are released.
fn build(workspace: &Path, names: &[&str], features: &[&str]) -> Result<(), String> {
    if names.is_empty() {
        return Ok(());
    }
    let mut command = cargo(workspace);
    command.args(["build", "--release", "--workspace"]).args(features);
    names.iter().for_each(|name| _ = command.args(["--bin", name]));
    let status = command.status().map_err(|error| format!("cannot run cargo: {error}"))?;
    let failed = || format!("cargo failed to build {} in {}", names.join(", "), workspace.display());
    status.success().then_some(()).ok_or_else(failed)
}

fn release_directory(workspace: &Path) -> Result<PathBuf, String> {
    #[derive(Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let failed = |error: String| format!("cargo metadata in {} failed: {error}", workspace.display());
    let mut command = cargo(workspace);
    command.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]).stderr(Stdio::inherit());
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    let metadata: Metadata = serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))?;
    Ok(metadata.target_directory.join("release"))
}

fn cargo(workspace: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace);
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contestant;

    #[test]
    fn pants_does_each_work_by_the_program_that_its_users_run_where_there_is_one() {
        let pants = contestant::find("pants").unwrap();
        assert_eq!(binary(pants, Work::Churn), Some(Binary::Project("pants-echo")));
        assert_eq!(binary(pants, Work::Proxy), Some(Binary::Project("pants-proxy")));
        assert_eq!(binary(pants, Work::Udp), Some(Binary::Own("pants")));
        assert_eq!(binary(contestant::find("nginx").unwrap(), Work::Proxy), None);
        assert_eq!(binary(contestant::find("monoio-epoll").unwrap(), Work::Echo), Some(Binary::Own("monoio")));
    }

    #[test]
    fn cargo_says_where_the_programs_are() {
        let programs = Programs::find().unwrap();
        assert!(programs.path(CLIENT).ends_with("release/bare-client"));
        assert!(programs.root().join("ARCHITECTURE.md").is_file());
    }
}
