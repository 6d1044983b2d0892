//! The cookbook: every program in `examples/` runs, and does what it says it does.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// How long a test waits for what must come before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Any free port of this machine alone.
const ANY_PORT: &str = "127.0.0.1:0";

/// An example that runs; it is killed at the end of its test, if it still runs then.
struct Example {
    child: Child,
    lines: Receiver<String>,
}

impl Example {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let tests = env::current_exe().expect("this test has a path");
        // This is target/<profile>/deps/<test>.
        let profile = tests.ancestors().nth(2).expect("tests are built in a directory of a profile's");
        let program = profile.join("examples").join(name);
        assert!(
            program.exists(),
            "{} is missing: `cargo test` builds the examples; with `--test examples` alone run `cargo build --examples` first",
            program.display()
        );
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = channel();
        // It ends with the child, whose end closes the pipe.
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// A server that listens, and where.
    fn serve(name: &str, arguments: &[&str]) -> (Self, String) {
        let example = Self::start(name, arguments);
        let line = example.line();
        let address = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{name} says {line:?}"));
        let address = address.to_owned();
        (example, address)
    }

    /// The next line of its output.
    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the example says something")
    }

    /// Waits for its end, and gives whether it ended well and what else it said.
    fn finish(mut self) -> (bool, Vec<String>) {
        let limit = Instant::now() + PATIENCE;
        let mut said = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(limit.saturating_duration_since(Instant::now())) {
            said.push(line);
        }
        assert!(Instant::now() < limit, "the example does not end; it has said {said:?}");
        // Its output has ended, so this does not wait for long.
        (self.child.wait().expect("it can be waited for").success(), said)
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory of one test's own, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("pants-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory can be made");
        Self(path)
    }

    fn text(&self) -> &str {
        self.0.to_str().expect("the temporary directory's path is UTF-8")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn connect(address: &str) -> BufReader<TcpStream> {
    let address: SocketAddr = address.parse().expect("the example prints an address");
    let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the example listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(stream)
}

fn say(stream: &BufReader<TcpStream>, text: &str) {
    stream.get_ref().write_all(text.as_bytes()).expect("the example takes it");
}

fn hear(stream: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).expect("the example says something");
    line
}

/// Ends the conversation from this side and gives what is still to come of it.
fn hear_out(mut stream: impl Read, shutdown: impl FnOnce()) -> String {
    shutdown();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("the example ends the connection in good order");
    rest
}

/// A socket that is bound, so that its port is nobody else's, but does not listen: it refuses.
fn refusing() -> (Socket, String) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&ANY_PORT.parse::<SocketAddr>().unwrap().into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap().to_string();
    (socket, address)
}

fn name(stream: &BufReader<TcpStream>) -> SocketAddr {
    stream.get_ref().local_addr().unwrap()
}

#[test]
fn echo_sends_back_what_it_is_sent_and_ends_when_the_client_does() {
    let (_example, address) = Example::serve("echo", &[ANY_PORT]);
    let mut client = connect(&address);
    say(&client, "hello\n");
    assert_eq!(hear(&mut client), "hello\n");
    let end = client.get_ref().try_clone().unwrap();
    say(&client, "and goodbye");
    assert_eq!(hear_out(client, || end.shutdown(Shutdown::Write).unwrap()), "and goodbye");
}

#[test]
fn udp_echo_sends_each_datagram_back_whole() {
    let (_example, address) = Example::serve("udp_echo", &[ANY_PORT]);
    let client = UdpSocket::bind(ANY_PORT).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.connect(address).unwrap();
    let mut room = [0; 64];
    for message in ["one", "", "two"] {
        client.send(message.as_bytes()).unwrap();
        let length = client.recv(&mut room).unwrap();
        assert_eq!(&room[..length], message.as_bytes());
    }
}

#[test]
fn unix_echo_tells_who_has_come_and_how_it_went() {
    let directory = Directory::new("unix-echo");
    let path = format!("{}/echo.sock", directory.text());
    let (example, address) = Example::serve("unix_echo", &[&path]);
    assert_eq!(address, path);
    let mut client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"hello").unwrap();
    let end = client.try_clone().unwrap();
    assert_eq!(hear_out(client, || end.shutdown(Shutdown::Write).unwrap()), "hello");
    drop(end);
    let user = rustix::process::getuid().as_raw();
    assert_eq!(example.line(), format!("process {} of user {user} has come", std::process::id()));
    assert_eq!(example.line(), "gone after 5 bytes: finished");
}

#[test]
fn nested_serves_a_client_from_within_another_loop_and_ends() {
    let (succeeded, said) = Example::start("nested", &[]).finish();
    assert!(succeeded);
    for wanted in ["engine: a timer", "engine: echoes 5 bytes", "loop: the client says \"hello\""] {
        assert!(said.iter().any(|line| line == wanted), "{wanted:?} is not in {said:?}");
    }
}

#[test]
fn line_chat_tells_every_line_to_all() {
    let (_example, address) = Example::serve("line_chat", &[ANY_PORT]);
    let mut anna = connect(&address);
    assert_eq!(hear(&mut anna), format!("* {} joins\n", name(&anna)));
    let mut ben = connect(&address);
    let joins = format!("* {} joins\n", name(&ben));
    assert_eq!([hear(&mut anna), hear(&mut ben)], [joins.clone(), joins]);
    say(&anna, "good ");
    say(&anna, "morning\r\n");
    let morning = format!("{}: good morning\n", name(&anna));
    assert_eq!([hear(&mut anna), hear(&mut ben)], [morning.clone(), morning]);
    let anna_was = name(&anna);
    drop(anna);
    assert_eq!(hear(&mut ben), format!("* {anna_was} leaves: finished\n"));
    say(&ben, &"x".repeat(40_000));
    assert_eq!(hear(&mut ben), "* that line is too long\n");
}

#[test]
fn line_chat_neither_waits_for_a_slow_reader_nor_cuts_it_off() {
    // More than the kernel's buffers and the engine's cap on what is queued can hold together.
    const LINES: usize = 1_100;
    let (_example, address) = Example::serve("line_chat", &[ANY_PORT]);
    let mut slow = connect(&address);
    hear(&mut slow);
    let mut quick = connect(&address);
    hear(&mut quick);
    let long = format!("{}\n", "x".repeat(30_000));
    for _ in 0..LINES {
        // One at a time, so that this one is never slow itself.
        say(&quick, &long);
        assert!(hear(&mut quick).len() > long.len());
    }
    // It misses this, too, until it has taken what waits for it; so this is said until it is heard.
    slow.get_ref().set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let limit = Instant::now() + PATIENCE;
    let (mut line, mut heard) = (Vec::new(), 0);
    while !line.ends_with(b": welcome back\n") {
        assert!(Instant::now() < limit, "the slow one hears nothing new");
        if line.ends_with(b"\n") {
            heard += 1;
            line.clear();
        }
        match slow.read_until(b'\n', &mut line) {
            Ok(length) => assert!(length > 0, "the slow one was cut off"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => say(&quick, "welcome back\n"),
            Err(error) => panic!("the slow one was cut off: {error}"),
        }
    }
    assert!(heard < LINES, "the slow one has missed nothing");
}

#[test]
fn reconnect_waits_longer_after_each_attempt_and_comes_back_after_a_loss() {
    let (socket, address) = refusing();
    let example = Example::start("reconnect", &[&address]);
    for wait in ["100ms", "200ms", "400ms"] {
        let line = example.line();
        assert!(line.contains("refused") && line.ends_with(&format!("; again in {wait}")), "{line:?}");
    }
    socket.listen(1).unwrap();
    let listener = TcpListener::from(socket);
    for _ in 0..2 {
        while example.line() != format!("connected to {address}") {}
        let (stream, _) = listener.accept().unwrap();
        let mut server = BufReader::new(stream);
        server.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(hear(&mut server), "hello\n");
        say(&server, "good morning\n");
        assert_eq!(example.line(), "good morning");
        drop(server);
        // It was answered, so it begins anew.
        assert_eq!(example.line(), "disconnected: finished; again in 100ms");
    }
}

#[test]
fn file_server_answers_with_the_length_and_the_file() {
    let directory = Directory::new("file-server");
    let large = "0123456789abcde\n".repeat(200_000);
    fs::write(directory.0.join("large"), &large).unwrap();
    fs::write(directory.0.join("empty"), "").unwrap();
    let (_example, address) = Example::serve("file_server", &[directory.text(), ANY_PORT]);
    let client = connect(&address);
    say(&client, "empty\nlarge\r\nempty\n");
    let end = client.get_ref().try_clone().unwrap();
    let answers = hear_out(client, || end.shutdown(Shutdown::Write).unwrap());
    assert!(answers == format!("0\n{}\n{large}0\n", large.len()), "{} bytes came", answers.len());
}

#[test]
fn file_server_serves_nothing_from_outside_its_directory() {
    let directory = Directory::new("file-server-walls");
    let public = directory.0.join("public");
    fs::create_dir_all(public.join("sub")).unwrap();
    fs::write(directory.0.join("secret"), "secret").unwrap();
    fs::write(public.join("file"), "public").unwrap();
    symlink("../secret", public.join("link")).unwrap();
    let (_example, address) = Example::serve("file_server", &[public.to_str().unwrap(), ANY_PORT]);
    let mut client = connect(&address);
    let secret = format!("{}/secret", directory.text());
    for name in ["../secret", "sub/../../secret", "link", &secret] {
        say(&client, &format!("{name}\n"));
        assert_eq!(hear(&mut client), "- it leads out of the directory\n", "{name}");
    }
    say(&client, "sub\nnone\nsub/../file\n");
    assert_eq!(hear(&mut client), "- it is no file\n");
    assert!(hear(&mut client).starts_with("- No such file"));
    assert_eq!(hear(&mut client), "6\n");
}

#[test]
fn rpc_answers_calls_by_their_numbers() {
    let (_example, address) = Example::serve("rpc", &["serve", ANY_PORT]);
    let mut client = connect(&address);
    let message = |number: u8, code: u8, body: &[u8]| {
        let header = [0, 0, 0, 8 + body.len() as u8, 0, 0, 0, number, 0, 0, 0, code];
        [&header, body].concat()
    };
    let calls = [message(7, 2, b"abc"), message(8, 9, b"abc"), message(9, 1, b"abc")].concat();
    client.get_ref().write_all(&calls).unwrap();
    let expected = [message(7, 0, b"cba"), message(8, 1, b""), message(9, 0, b"ABC")].concat();
    let mut answers = vec![0; expected.len()];
    client.read_exact(&mut answers).unwrap();
    assert_eq!(answers, expected);
}

#[test]
fn rpc_calls_a_server_and_says_when_there_is_none() {
    let (_example, address) = Example::serve("rpc", &["serve", ANY_PORT]);
    let answers = vec!["1: code 0, HELLO".to_owned(), "2: code 0, olleh".to_owned()];
    assert_eq!(Example::start("rpc", &["call", &address, "hello"]).finish(), (true, answers));
    let (_socket, address) = refusing();
    assert_eq!(Example::start("rpc", &["call", &address, "hello"]).finish(), (false, vec![]));
}
