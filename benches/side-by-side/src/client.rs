//! The bare client: the load of every contestant, one slice at a time.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Deserialize;

use crate::point::Point;
use crate::process::{Line, Process};

/// How long the client may take to make its connections, and how long beyond a slice to have all back: most with a broadcast's
/// server under strace, half a minute on a busy machine. It gives up by itself when nothing has come for ten seconds.
const PATIENCE: Duration = Duration::from_secs(300);

/// A client that has made its connections.
#[derive(Debug)]
pub(crate) struct Client(Process);

/// What the client says of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Said {
    pub(crate) messages: u64,
    pub(crate) nanoseconds: u64,
    pub(crate) cpu_nanoseconds: u64,
    /// Replies that were not what was sent.
    wrong: u64,
    /// Datagrams that had to be sent again.
    pub(crate) lost: u64,
}

impl Client {
    /// Connects to `address` for the load of a point, from `cpu`. Every connection has had a message sent back.
    ///
    /// # Errors
    ///
    /// In one line.
    pub(crate) fn connect(
        program: &Path,
        point: &Point,
        address: SocketAddr,
        cpu: usize,
        interrupted: &Arc<AtomicBool>,
    ) -> Result<Self, String> {
        let mut client = Process::start(&line(program, point, address), cpu, interrupted)?;
        match client.line(PATIENCE) {
            Ok(line) if line == "ready" => Ok(Self(client)),
            Ok(line) => Err(format!("the client said {line:?} where it says \"ready\"")),
            Err(error) => Err(format!("the client: {error}")),
        }
    }

    /// Loads for so long.
    ///
    /// # Errors
    ///
    /// In one line; also if a reply was wrong.
    pub(crate) fn run(&mut self, time: Duration) -> Result<Said, String> {
        self.slice(&format!("run {}", time.as_millis()), time)
    }

    /// Sends so many messages.
    ///
    /// # Errors
    ///
    /// As [`Client::run`].
    pub(crate) fn count(&mut self, messages: u64) -> Result<Said, String> {
        self.slice(&format!("count {messages}"), Duration::ZERO)
    }

    fn slice(&mut self, what: &str, time: Duration) -> Result<Said, String> {
        let said = self.0.tell(what).and_then(|()| self.0.line(time + PATIENCE));
        parse(&said.map_err(|error| format!("the client: {error}"))?)
    }
}

fn line(program: &Path, point: &Point, address: SocketAddr) -> Line {
    let mut line = Line::new(program, [point.work.of_client(), &address.to_string()]);
    let numbers = [("--connections", point.connections), ("--size", point.size), ("--depth", point.depth_in_fact())];
    line.arguments.extend(numbers.into_iter().flat_map(|(name, number)| [name.into(), number.to_string().into()]));
    if point.trains {
        line.arguments.extend(["--variant", "gso"].map(Into::into));
    }
    line
}

fn parse(text: &str) -> Result<Said, String> {
    let said: Said = serde_json::from_str(text).map_err(|error| format!("the client said {text:?}: {error}"))?;
    match said {
        Said { wrong: 1.., .. } => Err(format!("{} replies were not what was sent", said.wrong)),
        Said { messages: 0, .. } => Err("nothing came back".to_owned()),
        _ => Ok(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_told_the_point() {
        let line = line(Path::new("bare-client"), &Point::USUAL, ([127, 0, 0, 1], 99).into());
        let arguments: Vec<&str> = line.arguments.iter().map(|argument| argument.to_str().unwrap()).collect();
        assert_eq!(arguments.join(" "), "echo 127.0.0.1:99 --connections 50 --size 64 --depth 1");
    }

    #[test]
    fn a_slice_counts_only_if_every_reply_was_right() {
        let text = |messages, wrong| {
            format!(r#"{{"messages":{messages},"nanoseconds":5,"cpu_nanoseconds":3,"wrong":{wrong},"lost":0}}"#)
        };
        let said = Said { messages: 7, nanoseconds: 5, cpu_nanoseconds: 3, wrong: 0, lost: 0 };
        assert_eq!(parse(&text(7, 0)), Ok(said));
        assert_eq!(parse(&text(7, 2)).unwrap_err(), "2 replies were not what was sent");
        assert_eq!(parse(&text(0, 0)).unwrap_err(), "nothing came back");
        assert!(parse("oops").unwrap_err().starts_with("the client said \"oops\""));
    }
}
