//! What the tests of pants-chat share: the chat as a child, and guests who wait for what they should hear.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use super::{ANY_PORT, Server, client, command};

pub(crate) const PANTS_CHAT: &str = env!("CARGO_BIN_EXE_pants-chat");

/// Starts a chat on several shards at any port.
pub(crate) fn start(arguments: &[&str]) -> Server {
    Server::start_as(command(PANTS_CHAT).args(["--listen", ANY_PORT, "--shards", "3", "--no-pin"]).args(arguments))
}

/// Somebody in the chat.
pub(crate) struct Guest {
    reader: BufReader<TcpStream>,
    /// The name it was given.
    pub(crate) nick: String,
}

impl Guest {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut guest = Self { reader: BufReader::new(client(address)), nick: String::new() };
        let greeting = guest.next();
        let nick = greeting.strip_prefix("-- welcome, ").and_then(|rest| rest.split_once(':'));
        guest.nick = nick.unwrap_or_else(|| panic!("no greeting: {greeting}")).0.to_owned();
        guest
    }

    /// Which of so many shards has it: a guest's number says so.
    pub(crate) fn shard(&self, shards: usize) -> usize {
        let number: usize = self.nick.strip_prefix("guest-").unwrap().parse().unwrap();
        (number - 1) % shards
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.send_bytes(format!("{text}\n").as_bytes());
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).unwrap();
    }

    /// The next line.
    pub(crate) fn next(&mut self) -> String {
        self.try_next().expect("the connection has ended")
    }

    /// The next line; `None` at the connection's end.
    pub(crate) fn try_next(&mut self) -> Option<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.strip_suffix('\n').map(str::to_owned)
    }

    /// The next line that somebody has said.
    pub(crate) fn next_said(&mut self) -> String {
        self.next_that(|line| line.starts_with('<'))
    }

    /// The next line like this; others are passed over.
    pub(crate) fn next_that(&mut self, is_wanted: impl Fn(&str) -> bool) -> String {
        loop {
            let line = self.next();
            if is_wanted(&line) {
                return line;
            }
        }
    }

    /// Waits for a line.
    pub(crate) fn wait_for(&mut self, wanted: &str) {
        self.next_that(|line| line == wanted);
    }

    pub(crate) fn join(&mut self, room: &str) {
        self.send(&format!("/join {room}"));
        self.wait_for(&format!("-- you are in {room}"));
    }

    /// Takes a name, and says whether it was free.
    pub(crate) fn takes(&mut self, nick: &str) -> bool {
        self.send(&format!("/nick {nick}"));
        self.is_called(nick)
    }

    /// Whether a name that was asked for was free.
    pub(crate) fn is_called(&mut self, nick: &str) -> bool {
        let (granted, refused) = (format!("-- {} is now {nick}", self.nick), format!("-- {nick} is taken"));
        let answer = self.next_that(|line| line == granted || line == refused);
        answer == granted
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        set_socket_linger(self.reader.get_ref(), Some(Duration::ZERO)).unwrap();
    }
}
