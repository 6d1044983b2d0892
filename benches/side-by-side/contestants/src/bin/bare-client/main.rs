//! The client that loads every contestant, as one would write it in C: an epoll loop over plain descriptors, one `send` and
//! one `recv` a message, no clock and no histogram.
//!
//! It makes its connections, has one message echoed on each, and prints `ready`. Then every line of standard input asks for
//! one slice of load, `run MILLISECONDS` or `count MESSAGES`; when all that the slice had in flight is back, its figures are
//! printed as one line of JSON. The end of standard input ends it.

#![forbid(unsafe_code)]

mod broadcast;
mod churn;
mod datagrams;
mod message;
mod slice;
mod stream;
mod streams;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::broadcast::Broadcast;
use crate::churn::Churn;
use crate::datagrams::Datagrams;
use crate::message::Message;
use crate::slice::{Goal, Load, Slices};
use crate::streams::Streams;

/// Loads an echo server from the command line of its standard input.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The work of the server.
    work: Work,
    /// Where the server listens.
    address: SocketAddr,
    /// How many connections; for `churn`, how many are under way at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// How many bytes a message has.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    size: u32,
    /// How many messages a connection keeps in flight; for `broadcast`, the one connection that sends.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    depth: u32,
    /// `gso`: datagrams are sent and received in bursts, a call for each burst.
    #[arg(long)]
    variant: Option<Variant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Work {
    /// Sends messages over TCP, which come back as they are.
    Echo,
    /// The same: a message is a line.
    Lines,
    /// Sends datagrams.
    Udp,
    /// One of the connections sends, and all of them receive.
    Broadcast,
    /// Connects, sends a message, has it back, and closes.
    Churn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Variant {
    Gso,
}

fn main() -> ExitCode {
    match work(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bare-client: {error}");
            ExitCode::FAILURE
        }
    }
}

fn work(arguments: &Arguments) -> io::Result<()> {
    if arguments.variant.is_some() && arguments.work != Work::Udp {
        return Err(io::Error::other("--variant gso is for udp only"));
    }
    raise_descriptor_limit();
    let connections = arguments.connections as usize;
    let message = Message::new(arguments.size as usize, arguments.depth as usize);
    let slices = Slices::new()?;
    match arguments.work {
        Work::Echo | Work::Lines => {
            let load = Streams::connect(arguments.address, connections, message, &slices)?;
            serve(slices, load)
        }
        Work::Broadcast => {
            let load = Broadcast::connect(arguments.address, connections, message, &slices)?;
            serve(slices, load)
        }
        Work::Udp => {
            let bursts = arguments.variant == Some(Variant::Gso);
            let load = Datagrams::connect(arguments.address, connections, message, bursts, &slices)?;
            serve(slices, load)
        }
        Work::Churn => serve(slices, Churn::new(arguments.address, connections, message)?),
    }
}

/// The soft limit is for programs that use `select`.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Where it may not be raised, the first socket too many says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Does what standard input asks for, line by line.
fn serve(mut slices: Slices, mut load: impl Load) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "ready")?;
    for line in io::stdin().lines() {
        let report = slices.run(&mut load, parse(&line?)?)?;
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    }
    Ok(())
}

fn parse(line: &str) -> io::Result<Goal> {
    let goal = line.split_once(' ').and_then(|(verb, number)| {
        let number = number.parse().ok()?;
        match verb {
            "run" if number > 0 => Some(Goal::Run(Duration::from_millis(number))),
            "count" if number > 0 => Some(Goal::Count(number)),
            _ => None,
        }
    });
    goal.ok_or_else(|| io::Error::other(format!("{line:?} is neither `run MILLISECONDS` nor `count MESSAGES`")))
}
