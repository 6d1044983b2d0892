//! Where it runs and what is compared: the machine, and the versions of the contestants.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::sched_getaffinity;

use crate::builds::Programs;
use crate::contestant::{Contestant, Version};
use crate::record::Machine;
use crate::rounds::Cpus;

/// The machine of this run.
pub(crate) fn here(programs: &Programs) -> Machine {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Machine {
        cpu: model(&cpuinfo).to_owned(),
        cpus: std::thread::available_parallelism().map_or(0, usize::from),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        rustc: said(Command::new("rustc").arg("--version")).unwrap_or_default(),
        commit: said(Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).current_dir(programs.root()))
            .unwrap_or_default(),
    }
}

/// The version of a contestant.
///
/// # Errors
///
/// Why it is not known, in one line.
pub(crate) fn version(contestant: &Contestant, programs: &Programs) -> Result<String, String> {
    match contestant.version {
        Version::Project => Ok(env!("CARGO_PKG_VERSION").to_owned()),
        Version::Crate(name) => locked(&read(&programs.root().join("benches/side-by-side/Cargo.lock"))?, name),
        Version::Said(program) => {
            let said = said(Command::new(program).arg("-v")).ok_or_else(|| format!("{program} is not installed"))?;
            first_number(&said).map(str::to_owned).ok_or_else(|| format!("{program} -v says {said:?}"))
        }
    }
}

/// Lets this process and what it starts have as many descriptors as they may.
pub(crate) fn raise_descriptor_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Where it may not be raised, the point with the connections that are too many fails, and says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Checks that there are two CPUs, and that this process may use them.
///
/// # Errors
///
/// In one line, which says what to do.
pub(crate) fn check_cpus(cpus: Cpus) -> Result<(), String> {
    if cpus.server == cpus.client {
        return Err(format!("server and client are both to run on CPU {}: give them different ones", cpus.server));
    }
    let allowed = sched_getaffinity(None).map_err(|error| format!("cannot tell the CPUs: {error}"))?;
    for (cpu, option) in [(cpus.server, "--server-cpu"), (cpus.client, "--client-cpu")] {
        if cpu >= rustix::thread::CpuSet::MAX_CPU || !allowed.is_set(cpu) {
            return Err(format!("this process may not run on CPU {cpu}: choose another one with {option}"));
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// What a program says, on either output, in one line.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().map(|line| line.trim().to_owned())
}

/// The version of a crate in a lock file: the newest, if there are several.
fn locked(lock: &str, name: &str) -> Result<String, String> {
    let lock: toml::Table = lock.parse().map_err(|error| format!("Cargo.lock: {error}"))?;
    let packages = lock.get("package").and_then(toml::Value::as_array).into_iter().flatten();
    let of = |package: &toml::Value| {
        let is_it = package.get("name")?.as_str()? == name;
        is_it.then(|| package.get("version")?.as_str().map(str::to_owned)).flatten()
    };
    packages.filter_map(of).next_back().ok_or_else(|| format!("Cargo.lock does not have {name}"))
}

/// The first thing in a text that is a version.
fn first_number(text: &str) -> Option<&str> {
    text.split([' ', '/']).find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
}

/// The name of the CPU, from the text of `/proc/cpuinfo`.
fn model(cpuinfo: &str) -> &str {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':')).map_or("unknown CPU", |(_, name)| name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_where_they_stand() {
        let lock = "version = 4\n[[package]]\nname = \"mio\"\nversion = \"0.8.0\"\n[[package]]\nname = \"mio\"\nversion = \"1.2.5\"\n";
        assert_eq!(locked(lock, "mio").unwrap(), "1.2.5");
        assert_eq!(locked(lock, "tokio").unwrap_err(), "Cargo.lock does not have tokio");
        assert_eq!(first_number("HAProxy version 2.6.12-1+deb12u1 2023/12/16"), Some("2.6.12-1+deb12u1"));
        assert_eq!(first_number("nginx version: nginx/1.22.1"), Some("1.22.1"));
    }

    #[test]
    fn the_cpu_is_named() {
        assert_eq!(model("processor\t: 0\nmodel name\t: AMD EPYC\n"), "AMD EPYC");
        assert_eq!(model(""), "unknown CPU");
    }

    #[test]
    fn one_cpu_is_not_enough() {
        assert!(check_cpus(Cpus { server: 0, client: 0 }).unwrap_err().contains("different ones"));
        assert!(check_cpus(Cpus { server: 0, client: 5_000 }).is_err());
    }
}
