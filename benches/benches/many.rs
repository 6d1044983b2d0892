//! Very many connections: how long they take to open, and what each costs in memory, on either side and in the kernel.
//!
//! A process may have few descriptors, so that several pants-echo share one port and several pants-load share the
//! connections; each of those has two source addresses of its own. They load with a small rate, by an open loop.
//! `cargo build --release` comes first. Arguments: connections (19,000), messages a second (2,000) and seconds (20).

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// The most connections of one process, which may have 20,000 descriptors on many a machine.
const ALONE: usize = 19_500;

/// The most connections of one process of several: the kernel spreads them by chance.
const SHARED: usize = 17_000;

/// Connections of the run that shows what the generator takes once.
const FEW: usize = 10;

/// How long it may take to open all connections.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let number = |index: usize, default| numbers.get(index).copied().unwrap_or(default);
    let (connections, rate, seconds) = (number(0, 19_000), number(1, 2_000), number(2, 20));
    let processes = if connections <= ALONE { 1 } else { connections.div_ceil(SHARED) };
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let servers = Servers::start(processes, address);
    let load = Load { address, rate: rate.div_ceil(processes), seconds };

    let few = load.start(0, FEW);
    servers.wait_until_open(FEW);
    std::thread::sleep(Duration::from_secs(1));
    let once = few.memory();
    assert!(few.has_served(0, FEW), "the run of few connections failed");
    servers.wait_until_open(0);
    let before = (servers.memory(), Kernel::read());

    let begun = Instant::now();
    let share = |index: usize| connections * (index + 1) / processes - connections * index / processes;
    let generators: Vec<Program> = (0..processes).map(|index| load.start(index, share(index))).collect();
    servers.wait_until_open(connections);
    let opened = begun.elapsed().as_secs_f64();
    println!("{connections} connections, {processes} servers and as many generators: open after {opened:.1} s");
    std::thread::sleep(Duration::from_secs(seconds as u64 / 2));
    let after = (servers.memory(), Kernel::read());
    let generator = generators.iter().map(Program::memory).sum::<usize>().saturating_sub(processes * once);
    let each = |what: &str, after: usize, before: usize| {
        println!("  {what:<16} {:>6} bytes a connection", after.saturating_sub(before) / connections);
    };
    each("server", after.0, before.0);
    each("generator", generator, 0);
    each("kernel, slabs", after.1.slab, before.1.slab);
    each("kernel, buffers", after.1.buffers, before.1.buffers);
    println!("  the kernel's are for both ends; a generator takes {} KiB beside that", once / 1024);
    let held = servers.open();
    println!("  {held} connections are open in the midst of the load");
    let mut ends = generators.into_iter().enumerate();
    if ends.all(|(index, generator)| generator.has_served(index, share(index))) && held == connections {
        println!("  no connection and no message has failed");
        return ExitCode::SUCCESS;
    }
    println!("  some connection or message has failed");
    ExitCode::FAILURE
}

/// Several pants-echo that share a port.
struct Servers {
    programs: Vec<Program>,
    /// Their descriptors without a connection.
    descriptors: usize,
}

impl Servers {
    fn start(count: usize, address: SocketAddr) -> Self {
        let mut command = Command::new(programs().join("pants-echo"));
        command.args(["--listen", &address.to_string(), "--shards", "1", "--no-pin", "--share-port"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let programs = (0..count).map(|_| Program(command.spawn().expect("pants-echo"))).collect();
        std::thread::sleep(Duration::from_secs(1));
        let mut servers = Self { programs, descriptors: 0 };
        servers.descriptors = servers.open();
        servers
    }

    /// How many connections they have open.
    fn open(&self) -> usize {
        let descriptors = self.programs.iter().map(Program::descriptors).sum::<usize>();
        descriptors.saturating_sub(self.descriptors)
    }

    fn wait_until_open(&self, connections: usize) {
        let limit = Instant::now() + PATIENCE;
        while self.open() != connections {
            assert!(Instant::now() < limit, "{} connections are open, not {connections}", self.open());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn memory(&self) -> usize {
        self.programs.iter().map(Program::memory).sum()
    }
}

/// What each pants-load is to do.
struct Load {
    address: SocketAddr,
    /// Messages a second, of each.
    rate: usize,
    seconds: usize,
}

impl Load {
    fn start(&self, index: usize, connections: usize) -> Program {
        let first = 2 * index + 2;
        let mut command = Command::new(programs().join("pants-load"));
        command.args([
            "run",
            &format!("tcp://{}", self.address),
            "--connections",
            &connections.to_string(),
            "--no-pin",
        ]);
        command.args(["--rate", &self.rate.to_string(), "--duration", &format!("{}s", self.seconds)]);
        command.args(["--source", &format!("127.0.0.{first}-127.0.0.{}", first + 1), "--timeout", "30s"]);
        command.args(["--seed", &(index + 1).to_string()]).arg("--json").arg(report(index));
        Program(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("pants-load"))
    }
}

/// Where the generator of this number writes what it has found.
fn report(index: usize) -> PathBuf {
    std::env::temp_dir().join(format!("pants-many-{}-{index}.json", std::process::id()))
}

/// Where `cargo build --release` puts the programs: this one is in `deps` beside them.
fn programs() -> PathBuf {
    let own = std::env::current_exe().expect("this program has a path");
    own.ancestors().nth(2).expect("it is in target/release/deps").to_owned()
}

/// A process; it is killed when it is dropped, if it still runs.
struct Program(Child);

impl Program {
    /// Its anonymous pages in RAM, in bytes.
    fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("it still runs");
        kibibytes(&status, "RssAnon:")
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.0.id())).expect("it still runs").count()
    }

    /// Waits for a generator; whether it has made its connections, and nothing has failed. That it was late, on a machine that
    /// does other things too, is no matter here.
    fn has_served(mut self, index: usize, connections: usize) -> bool {
        let mut summary = String::new();
        let read = self.0.stdout.take().map(|mut stdout| stdout.read_to_string(&mut summary));
        print!("{summary}");
        let ended = self.0.wait().is_ok_and(|status| matches!(status.code(), Some(0 | 1)));
        let path = report(index);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path);
        let record: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let result = &record["runs"][0]["result"];
        let failed = result["failures"]["kinds"].as_object().is_none_or(|kinds| !kinds.is_empty());
        read.is_some() && ended && !failed && result["total"]["connections"] == connections
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both do nothing to a child that was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The kernel's memory, in bytes.
struct Kernel {
    /// All of its small objects, sockets among them.
    slab: usize,
    /// What the TCP sockets have for data.
    buffers: usize,
}

impl Kernel {
    fn read() -> Self {
        let memory = fs::read_to_string("/proc/meminfo").expect("meminfo");
        Self { slab: kibibytes(&memory, "Slab:"), buffers: tcp_socket_pages() * 4096 }
    }
}

fn tcp_socket_pages() -> usize {
    let text = fs::read_to_string("/proc/net/sockstat").expect("sockstat");
    let line = text.lines().find(|line| line.starts_with("TCP:")).expect("TCP's line");
    line.rsplit(' ').next().and_then(|pages| pages.parse().ok()).expect("a number of pages")
}

fn kibibytes(text: &str, name: &str) -> usize {
    let field = text.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.trim().strip_suffix(" kB"));
    1024 * field.and_then(|number| number.trim().parse::<usize>().ok()).expect("a number of kB")
}
