//! A contestant at work: which program serves a point, how it is started, and where it then listens.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::builds::{self, Programs};
use crate::contestant::{BUSY_POLL, Contestant, Program};
use crate::point::{Point, Work};
use crate::process::{Line, Process};
use crate::proxies;

/// How long a server may take to listen; under valgrind it takes a second or two.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a shard that polls busily looks for work: longer than any round trip over loopback takes.
const POLLING: &str = "1ms";

/// A server that listens.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

/// What a server is started with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) programs: &'a Programs,
    /// The CPU of the server.
    pub(crate) cpu: usize,
    /// What a proxy stands before.
    pub(crate) to: Option<SocketAddr>,
    /// Where configurations are written.
    pub(crate) scratch: &'a Path,
    pub(crate) interrupted: &'a Arc<AtomicBool>,
}

/// How it is known where a server listens.
enum Listens {
    /// It says so: `listening on ADDRESS`.
    Says,
    /// It was told.
    At(SocketAddr),
}

impl Server {
    /// Starts a contestant's server of a point, and waits until it listens.
    ///
    /// # Errors
    ///
    /// In one line.
    pub(crate) fn start(contestant: &Contestant, point: &Point, setting: Setting<'_>) -> Result<Self, String> {
        Self::start_under(contestant, point, setting, |line| line)
    }

    /// The same, with a command line that `tool` makes of the server's own.
    pub(crate) fn start_under(
        contestant: &Contestant,
        point: &Point,
        setting: Setting<'_>,
        tool: impl FnOnce(Line) -> Line,
    ) -> Result<Self, String> {
        let (line, listens) = command(contestant, point, setting)?;
        let mut process = Process::start(&tool(line), setting.cpu, setting.interrupted)?;
        let address = match listens {
            Listens::Says => address(&process.line(PATIENCE)?)?,
            Listens::At(address) => {
                process.wait_until(PATIENCE, || TcpStream::connect(address).ok())?;
                address
            }
        };
        Ok(Self { process, address })
    }
}

/// The command line of a contestant that needs no server: it does its work, prints its figures, and ends.
pub(crate) fn command_alone(contestant: &Contestant, work: Work, programs: &Programs) -> Result<Line, String> {
    Ok(Line::new(existing(contestant, work, programs)?, [""; 0]))
}

fn command(contestant: &Contestant, point: &Point, setting: Setting<'_>) -> Result<(Line, Listens), String> {
    let to = || setting.to.expect("a proxy's point has a backend");
    match contestant.program {
        Program::Haproxy => told(setting, |listen, _| proxies::haproxy(listen, to()), "haproxy", &["-db", "-f"]),
        Program::Nginx => {
            told(setting, |listen, scratch| proxies::nginx(listen, to(), scratch), "nginx", &["-e", "stderr", "-c"])
        }
        Program::Pants if matches!(point.work, Work::Echo | Work::Churn | Work::Proxy) => {
            let program = existing(contestant, point.work, setting.programs)?;
            let mut line = Line::new(program, ["--listen", "127.0.0.1:0", "--shards", "1"]);
            line.arguments.extend(setting.to.iter().flat_map(|to| ["--to".into(), to.to_string().into()]));
            if point.work == Work::Proxy {
                // Neither do the others write a line for each connection.
                line.arguments.push("--quiet".into());
            }
            if contestant.variant == Some(BUSY_POLL) {
                line.environment.push(("PANTS_BUSY_POLL", POLLING));
            }
            Ok((line, Listens::Says))
        }
        Program::Own(_) | Program::Pants => {
            let mut line = Line::new(existing(contestant, point.work, setting.programs)?, [point.work.of_server()]);
            let pair = |name: &str, value: &str| [OsString::from(name), OsString::from(value)];
            line.arguments.extend(contestant.variant.iter().flat_map(|variant| pair("--variant", variant)));
            line.arguments.extend(setting.to.iter().flat_map(|to| pair("--to", &to.to_string())));
            Ok((line, Listens::Says))
        }
    }
}

/// The program of a contestant, which has to be there.
fn existing(contestant: &Contestant, work: Work, programs: &Programs) -> Result<PathBuf, String> {
    let path = programs.path(builds::binary(contestant, work).expect("cargo builds it"));
    if path.is_file() { Ok(path) } else { Err(format!("it is not built: there is no {}", path.display())) }
}

/// A program that reads from a file where it listens, and cannot choose the port by itself.
fn told(
    setting: Setting<'_>,
    configuration: impl FnOnce(SocketAddr, &Path) -> String,
    program: &str,
    arguments: &[&str],
) -> Result<(Line, Listens), String> {
    let failed = |error: std::io::Error| format!("cannot configure {program}: {error}");
    // Given back at once; nobody else takes it so soon, since the kernel goes round.
    let listen = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(failed)?;
    let directory = setting.scratch.join(program);
    std::fs::create_dir_all(&directory).map_err(failed)?;
    let file = directory.join("configuration");
    std::fs::write(&file, configuration(listen, &directory)).map_err(failed)?;
    let mut line = Line::new(program, arguments);
    line.arguments.push(file.into());
    Ok((line, Listens::At(listen)))
}

fn address(line: &str) -> Result<SocketAddr, String> {
    let address = line.strip_prefix("listening on ").and_then(|address| address.trim().parse().ok());
    address.ok_or_else(|| format!("it said {line:?} where it says \"listening on ADDRESS\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_where_it_listens() {
        assert_eq!(address("listening on 127.0.0.1:4040"), Ok(([127, 0, 0, 1], 4040).into()));
        assert!(address("hello").unwrap_err().contains("\"hello\""));
    }
}
