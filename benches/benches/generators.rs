//! Load generators beside each other, loading the same server in turn: pants-load and a bare epoll client before pants-echo,
//! pants-load and wrk before nginx; then how late pants-load keeps the schedule of an open loop, beside a thread that only sleeps.
//!
//! The server is pinned to one CPU and the generators to another. What is printed for each: the rate, how much of the time
//! server and generator were busy, and what a message cost each; then the ratio of pants-load's rate to the other's.
//! `cargo build --release` comes first. Arguments: rounds (15) and seconds a run (2).

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use pants_benches::client::Client;

const SIZE: usize = 64;

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one run of a generator came to.
#[derive(Clone, Copy)]
struct Run {
    messages: f64,
    elapsed: f64,
    /// Seconds of CPU time.
    server: f64,
    generator: f64,
}

/// A generator: its name, and what loads a server for some time and returns the messages, the time they took and its own CPU
/// time in seconds.
type Generator<'a> = (&'static str, Box<dyn Fn() -> (f64, f64, f64) + 'a>);

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let [server_core, client_core, ..] = cores[..] else {
        println!("skipped: the server and its load need a CPU each");
        return;
    };
    let bench = Bench {
        programs: programs(),
        server_core,
        client_core,
        rounds: numbers.first().map_or(15, |rounds| *rounds as usize),
        seconds: *numbers.get(1).unwrap_or(&2),
    };
    for connections in [50, 1_000] {
        bench.echo(connections);
        bench.http(connections);
    }
    for rate in [1_000, 10_000, 50_000] {
        bench.pace(rate);
    }
}

/// Where `cargo build --release` puts the programs: this one is in `deps` beside them.
fn programs() -> PathBuf {
    let own = std::env::current_exe().expect("this program has a path");
    own.ancestors().nth(2).expect("it is in target/release/deps").to_owned()
}

struct Bench {
    programs: PathBuf,
    server_core: CoreId,
    client_core: CoreId,
    rounds: usize,
    seconds: u64,
}

impl Bench {
    fn start_echo(&self) -> (Server, SocketAddr) {
        let address = free_address();
        let mut command = Command::new(self.programs.join("pants-echo"));
        command.args(["--shards", "1", "--cpus", &self.server_core.id.to_string(), "--listen", &address.to_string()]);
        (Server::start(&mut command, address), address)
    }

    fn echo(&self, connections: usize) {
        let (server, address) = self.start_echo();
        println!("echo of {SIZE} B, {connections} connections, before pants-echo");
        let bare = || {
            // A thread of its own, since what is started from one that is pinned is pinned too.
            let (core, time) = (self.client_core, Duration::from_secs(self.seconds));
            let run = thread::spawn(move || {
                core_affinity::set_for_current(core);
                let client = Client::connect(address, connections, SIZE);
                let before = own_cpu();
                let (messages, time) = client.run(time);
                (messages as f64, time.as_secs_f64(), own_cpu() - before)
            });
            run.join().expect("the client does not panic")
        };
        let pants = || self.pants_load(&format!("tcp://{address}"), connections, &[]);
        self.compare(&server, [("pants-load", Box::new(pants)), ("bare epoll", Box::new(bare))]);
    }

    fn http(&self, connections: usize) {
        let address = free_address();
        let directory = std::env::temp_dir().join(format!("pants-generators-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory for nginx");
        let file = directory.join("nginx.conf");
        fs::write(&file, nginx_conf(&directory, address)).expect("nginx's configuration");
        let mut command = Command::new("taskset");
        command.args(["-c", &self.server_core.id.to_string(), "nginx", "-c"]).arg(&file).arg("-p").arg(&directory);
        let server = Server::start(&mut command, address);
        println!("HTTP GET, {connections} connections, before nginx");
        let wrk = || self.wrk(address, connections);
        let pants = || self.pants_load(&format!("tcp://{address}"), connections, &["--protocol", "http"]);
        self.compare(&server, [("pants-load", Box::new(pants)), ("wrk", Box::new(wrk))]);
        drop(server);
        let _ = fs::remove_dir_all(directory);
    }

    /// How late messages are sent that are due at this rate, and how late a thread on the same CPU is that sleeps until then.
    fn pace(&self, rate: u32) {
        let (_server, address) = self.start_echo();
        println!("open loop, {rate} messages a second on 50 connections: late by, in µs");
        let mut rounds: Vec<[[f64; 2]; 2]> = Vec::new();
        for _ in 0..self.rounds {
            let result = self.pants_load_result(&format!("tcp://{address}"), 50, &["--rate", &rate.to_string()]);
            let lag = ["p50_ns", "p99_ns"].map(|name| result["lag"][name].as_f64().expect("a number") / 1e3);
            let (core, time) = (self.client_core, Duration::from_secs(self.seconds));
            let sleeper = thread::spawn(move || {
                core_affinity::set_for_current(core);
                lateness(Duration::from_secs(1) / rate, time)
            });
            rounds.push([lag, sleeper.join().expect("it only sleeps")]);
        }
        for (quantile, name) in ["p50", "p99"].iter().enumerate() {
            let sorted = |figure: &dyn Fn([f64; 2]) -> f64| {
                let mut values: Vec<f64> =
                    rounds.iter().map(|both| figure(both.map(|quantiles| quantiles[quantile]))).collect();
                values.sort_by(f64::total_cmp);
                values
            };
            let (load, sleep) = (sorted(&|[load, _]| load), sorted(&|[_, sleep]| sleep));
            println!(
                "  {name}: pants-load {:.1} (best {:.1}), a sleeping thread {:.1} (best {:.1}), ratio {:.3}",
                median(&load),
                load[0],
                median(&sleep),
                sleep[0],
                median(&sorted(&|[load, sleep]| load / sleep)),
            );
        }
    }

    /// Runs both by turns, the first one first in every other round.
    fn compare(&self, server: &Server, generators: [Generator<'_>; 2]) {
        let mut runs = [Vec::new(), Vec::new()];
        for round in 0..self.rounds {
            for step in 0..2 {
                let which = (round + step) % 2;
                let before = server.cpu();
                let (messages, elapsed, generator) = generators[which].1();
                runs[which].push(Run { messages, elapsed, server: server.cpu() - before, generator });
            }
        }
        for ((name, _), runs) in generators.iter().zip(&runs) {
            describe(name, runs);
        }
        let rate = |run: &Run| run.messages / run.elapsed;
        let mut ratios: Vec<f64> = runs[0].iter().zip(&runs[1]).map(|(one, other)| rate(one) / rate(other)).collect();
        ratios.sort_by(f64::total_cmp);
        let [first, second] = generators.map(|(name, _)| name);
        println!("  {first} / {second}: median {:.3}, best {:.3}", median(&ratios), ratios[ratios.len() - 1]);
    }

    fn pants_load(&self, target: &str, connections: usize, more: &[&str]) -> (f64, f64, f64) {
        let result = self.pants_load_result(target, connections, more);
        let number = |name: &str| result[name].as_f64().expect("a number");
        let share = result["shards"][0]["cpu_share"].as_f64().expect("a number");
        (number("messages"), number("elapsed_s"), share * number("elapsed_s"))
    }

    /// The result in the record of a run.
    fn pants_load_result(&self, target: &str, connections: usize, more: &[&str]) -> serde_json::Value {
        let json = std::env::temp_dir().join(format!("pants-generators-{}.json", std::process::id()));
        let mut command = Command::new(self.programs.join("pants-load"));
        command.args(["run", target, "--warmup", "0s", "--duration", &format!("{}s", self.seconds)]);
        command.args(["--connections", &connections.to_string(), "--cpus", &self.client_core.id.to_string()]);
        command.args(more).arg("--json").arg(&json).stdout(Stdio::null()).stderr(Stdio::null());
        // 1 says that the run is invalid, which an open loop is that comes late: how late is the question here.
        let status = command.status().expect("pants-load; build it with cargo build --release");
        assert!(status.success() || status.code() == Some(1), "{status}");
        let text = fs::read_to_string(&json).expect("its report");
        let _ = fs::remove_file(json);
        let mut record: serde_json::Value = serde_json::from_str(&text).expect("its report is JSON");
        record["runs"][0]["result"].take()
    }

    fn wrk(&self, address: SocketAddr, connections: usize) -> (f64, f64, f64) {
        let mut command = Command::new("taskset");
        command.args(["-c", &self.client_core.id.to_string(), "wrk", "-t1"]);
        command.args(["-c", &connections.to_string(), "-d", &format!("{}s", self.seconds)]);
        let before = children_cpu();
        let output = command.arg(format!("http://{address}/")).output().expect("wrk and taskset");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find(|line| line.contains(" requests in ")).expect("wrk's summary");
        let mut words = line.split_whitespace();
        let requests = words.next().and_then(|word| word.parse().ok()).expect("a number of requests");
        let time = words.nth(2).and_then(|word| word.trim_end_matches("s,").parse().ok()).expect("a time");
        (requests, time, children_cpu() - before)
    }
}

fn describe(name: &str, runs: &[Run]) {
    let of = |figure: fn(&Run) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let rates = of(|run| run.messages / run.elapsed);
    println!(
        "  {name:>10}: {:>7.0}/s (best {:.0}); server {:.0} % busy, {:.2} µs a message; generator {:.0} % busy, {:.2} µs",
        median(&rates),
        rates[rates.len() - 1],
        100.0 * median(&of(|run| run.server / run.elapsed)),
        1e6 * median(&of(|run| run.server / run.messages)),
        100.0 * median(&of(|run| run.generator / run.elapsed)),
        1e6 * median(&of(|run| run.generator / run.messages)),
    );
}

/// How late a thread wakes up that sleeps until each of these times, in microseconds: the median, and the 99th percentile.
fn lateness(interval: Duration, time: Duration) -> [f64; 2] {
    let (begin, mut late) = (Instant::now(), Vec::new());
    for turn in 1.. {
        let due = begin + interval * turn;
        if due > begin + time {
            break;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        late.push(due.elapsed().as_secs_f64() * 1e6);
    }
    late.sort_by(f64::total_cmp);
    [median(&late), late[late.len() * 99 / 100]]
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

/// A server's process; it is killed at the end.
struct Server(Child);

impl Server {
    fn start(command: &mut Command, address: SocketAddr) -> Self {
        let server = Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the server's program"));
        let limit = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < limit, "the server does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// How long its threads have run, in seconds.
    fn cpu(&self) -> f64 {
        let tasks = fs::read_dir(Path::new("/proc").join(self.0.id().to_string()).join("task"));
        let tasks = tasks.expect("it still runs").flatten();
        tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok()).map(|text| first(&text)).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first number of a `schedstat` (proc_pid_schedstat(5)), which is in nanoseconds, in seconds.
fn first(text: &str) -> f64 {
    let nanos: f64 = text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
    nanos / 1e9
}

fn own_cpu() -> f64 {
    first(&fs::read_to_string("/proc/thread-self/schedstat").expect("a thread"))
}

/// How long the children of this process have run that it has waited for.
fn children_cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("a process");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
    // Fields 16 and 17 of proc_pid_stat(5); the third is the first one here.
    let ticks: f64 = fields[13..15].iter().filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / rustix::param::clock_ticks_per_second() as f64
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// One process in the foreground, which answers a few bytes from memory.
fn nginx_conf(directory: &Path, address: SocketAddr) -> String {
    let directory = directory.display();
    format!(
        "daemon off; master_process off; worker_processes 1; pid {directory}/pid; error_log /dev/null;
         events {{ worker_connections 4096; }}
         http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {directory};
                 proxy_temp_path {directory}; fastcgi_temp_path {directory}; uwsgi_temp_path {directory};
                 scgi_temp_path {directory};
                 server {{ listen {address} backlog=4096; location / {{ return 200 'hello'; }} }} }}"
    )
}
