//! pants-proxy before servers that others have written, under the load of tools that others have written.

mod support;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::support::proxy::*;
use crate::support::*;

/// Waits until a server that has just been started takes connections.
fn wait_for(server: &Program, is_up: impl Fn() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !is_up() {
        assert!(Instant::now() < limit, "the server, process {}, does not come up", server.pid());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port of this machine that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind(ANY_PORT).unwrap().local_addr().unwrap().port()
}

/// Runs a tool to its end, which must be a good one; gives what it has printed.
fn run_tool(tool: &mut Command) -> String {
    let Output { status, stdout, stderr } = tool.output().unwrap();
    let printed = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(status.success(), "{tool:?}: {status}\n{printed}");
    printed
}

/// Host and port, as tools take them.
fn split(address: &str) -> (&str, &str) {
    address.rsplit_once(':').expect("it is host and port")
}

#[test]
fn wrk_gets_pages_from_nginx() {
    if !has_tool("nginx") || !has_tool("wrk") {
        return;
    }
    let directory = ScratchDirectory::new();
    let path = directory.path().to_str().unwrap();
    let page = "x".repeat(4000);
    fs::write(directory.path().join("index.html"), &page).unwrap();
    let configuration = format!(
        "daemon off;\nmaster_process off;\npid {path}/pid;\nerror_log {path}/error.log;\nevents {{}}\n\
         http {{\n  access_log off;\n  client_body_temp_path {path}/body;\n  proxy_temp_path {path}/proxy;\n  \
         fastcgi_temp_path {path}/fastcgi;\n  uwsgi_temp_path {path}/uwsgi;\n  scgi_temp_path {path}/scgi;\n  \
         server {{ listen unix:{path}/socket; root {path}; keepalive_requests 1000; }}\n}}\n"
    );
    fs::write(directory.path().join("nginx.conf"), configuration).unwrap();
    let socket = format!("{path}/socket");
    let nginx = Program::start(Command::new("nginx").args(["-p", path, "-c", &format!("{path}/nginx.conf")]));
    wait_for(&nginx, || UnixStream::connect(&socket).is_ok());

    let proxy = Proxy::start(&["--quiet", "--shards", "2", "--to", &socket]);
    let url = format!("http://{}/index.html", proxy.address);
    let printed = run_tool(Command::new("wrk").args(["-t1", "-c50", "-d2s", &url]));
    assert!(!printed.contains("Socket errors") && !printed.contains("Non-2xx"), "{printed}");
    let requests = printed.lines().find_map(|line| line.trim().split_once(" requests in "));
    let requests: usize = requests.and_then(|(count, _)| count.parse().ok()).unwrap_or_else(|| panic!("{printed}"));
    assert!(requests > 100, "{printed}");
    // Without keep-alive every request is a pair of its own, which the server ends.
    let close = ["-H", "Connection: close", "-t1", "-c20", "-d1s", &url];
    let printed = run_tool(Command::new("wrk").args(close));
    assert!(!printed.contains("Socket errors") && !printed.contains("Non-2xx"), "{printed}");
    assert_eq!(proxy.stop().code, Some(0));
}

#[test]
fn redis_benchmark_sets_and_gets() {
    if !has_tool("redis-server") || !has_tool("redis-benchmark") {
        return;
    }
    let directory = ScratchDirectory::new();
    let port = free_port().to_string();
    let redis = Program::start(
        Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--daemonize", "no"])
            .current_dir(directory.path()),
    );
    let address = format!("127.0.0.1:{port}");
    wait_for(&redis, || TcpStream::connect(&address).is_ok());

    let proxy = Proxy::start(&["--quiet", "--to", &address]);
    let (host, port) = split(&proxy.address);
    for pipeline in ["1", "16"] {
        let flags = ["-h", host, "-p", port, "-c", "50", "-n", "20000", "-P", pipeline, "-d", "256", "-q"];
        let printed = run_tool(Command::new("redis-benchmark").args(flags).args(["-t", "set,get,lrange_100"]));
        let rates = printed.matches("requests per second").count();
        assert!(rates >= 3 && !printed.to_lowercase().contains("error"), "{printed}");
    }
    assert_eq!(proxy.stop().code, Some(0));
}

#[test]
fn iperf3_streams_in_both_directions() {
    if !has_tool("iperf3") {
        return;
    }
    let port = free_port().to_string();
    let iperf = Program::start(Command::new("iperf3").args(["-s", "-B", "127.0.0.1", "-p", &port, "--forceflush"]));
    let proxy = Proxy::start(&["--quiet", "--to", &format!("127.0.0.1:{port}")]);
    let (host, port) = split(&proxy.address);
    for direction in [&[][..], &["-R"], &["--bidir"]] {
        // It takes a connection for a test, and one test at a time, so it is its output that is waited for.
        while !iperf.next_line().starts_with("Server listening") {}
        let flags = ["-c", host, "-p", port, "-t", "1", "-P", "2"];
        let printed = run_tool(Command::new("iperf3").args(flags).args(direction));
        assert!(printed.contains("iperf Done") && !printed.contains("error"), "{printed}");
    }
    assert_eq!(proxy.stop().code, Some(0));
}
