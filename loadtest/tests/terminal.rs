//! What is shown while a run lasts on a terminal: a pseudo-terminal of known width.

mod support;

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::support::*;

/// Runs pants-load for a second with this terminal as its standard error; gives what it wrote there, and its summary.
fn show(address: SocketAddr, columns: u16, variables: &[(&str, &str)]) -> (String, String) {
    let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&near).unwrap();
    unlockpt(&near).unwrap();
    let name = ptsname(&near, Vec::new()).unwrap().into_string().unwrap();
    let far = OpenOptions::new().read(true).write(true).open(name).unwrap();
    tcsetwinsize(&far, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let target = format!("tcp://{address}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pants-load"));
    command
        .args(["run", &target, "--no-pin", "--connections", "2", "--warmup", "300ms", "--duration", "900ms"])
        .env_remove("NO_COLOR")
        .env("TERM", "xterm-256color")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(far);
    let child = command.spawn().unwrap();
    // With it goes this process's own far end, so that the near one comes to an end with the child.
    drop(command);
    let mut near = File::from(near);
    let mut shown = Vec::new();
    let mut buffer = [0; 4096];
    // The end of a pseudo-terminal is an error, EIO.
    while let Ok(count @ 1..) = near.read(&mut buffer) {
        shown.extend_from_slice(&buffer[..count]);
    }
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    (String::from_utf8_lossy(&shown).into_owned(), String::from_utf8(ended.stdout).unwrap())
}

/// The frames of a line that was drawn again and again, without what moves the cursor and colours.
fn frames(shown: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut escaped = false;
    for c in shown.chars() {
        match c {
            '\u{1b}' => escaped = true,
            '[' if escaped => {}
            c if escaped => escaped = !c.is_ascii_alphabetic(),
            c => plain.push(c),
        }
    }
    plain.split(['\r', '\n']).map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty()).collect()
}

#[test]
fn a_terminal_has_one_line_with_a_bar_that_goes_at_the_end() {
    let address = server(|stream| echo(stream, |_| ()));
    let (shown, summary) = show(address, 100, &[]);
    let frames = frames(&shown);
    assert!(frames.iter().any(|frame| frame.contains('━') && frame.contains("warm-up")), "{frames:?}");
    assert!(
        frames.iter().any(|frame| frame.contains(" of 0.9 s: ") && frame.contains("messages/s, 0 failed")),
        "{frames:?}"
    );
    assert!(shown.contains("\u{1b}[32m"), "there is green in {shown:?}");
    assert!(shown.trim_end_matches('\r').ends_with("\u{1b}[2K"), "the line is cleared at the end of {shown:?}");
    assert!(summary.contains("closed loop") && !summary.contains('\u{1b}'), "{summary}");
}

#[test]
fn no_colour_comes_where_it_is_not_wanted() {
    let address = server(|stream| echo(stream, |_| ()));
    let (shown, _) = show(address, 100, &[("NO_COLOR", "1")]);
    assert!(shown.contains('━') && !shown.contains("\u{1b}[3") && !shown.contains("\u{1b}[2m"), "{shown:?}");
}

#[test]
fn a_narrow_terminal_has_its_line_cut() {
    let address = server(|stream| echo(stream, |_| ()));
    let (shown, _) = show(address, 40, &[]);
    let frames = frames(&shown);
    assert!(!frames.is_empty() && frames.iter().all(|frame| frame.chars().count() <= 40), "{frames:?}");
    assert!(!shown.contains('\n'), "nothing wraps: {shown:?}");
}

#[test]
fn a_terminal_that_cannot_go_back_in_its_line_has_plain_lines() {
    let address = server(|stream| echo(stream, |_| ()));
    let (shown, _) = show(address, 100, &[("TERM", "dumb")]);
    assert!(shown.lines().all(|line| line.starts_with("pants-load: ") && !line.contains('\u{1b}')), "{shown:?}");
    assert!(shown.contains("messages/s, 0 failed"), "{shown:?}");
}
