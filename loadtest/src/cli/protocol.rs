//! The flags that say what is spoken with the server, and the language that they make.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use crate::plan::SIZE_MAX;
use crate::plan::sizes::Sizes;
use crate::protocol::Language;
use crate::protocol::bytes::{parse_escaped, parse_hex};
use crate::protocol::http::Get;
use crate::protocol::raw::{Delimiter, Exchange, Expect};
use crate::target::Target;

/// Bytes of a message if nothing else is said.
const SIZE: usize = 64;

/// The flags that say what is spoken with the server.
#[derive(Debug, Args)]
pub struct ProtocolArguments {
    /// What to speak [default: echo, or http with an http:// target]
    #[arg(long, value_name = "NAME")]
    protocol: Option<Name>,
    /// Bytes of a message: 64, 16KiB, uniform:64-1KiB, exp:512 (this mean, at most 16 times it), or sizes with their weights,
    /// 64:90,16KiB:10 [default: 64]
    #[arg(long, value_name = "BYTES")]
    size: Option<Sizes>,
    /// With http, what to get [default: /]
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// With http, a header field to send, such as "Accept: text/html"; may be given several times
    #[arg(long, value_name = "FIELD")]
    header: Vec<String>,
    /// With raw, the file whose bytes to send
    #[arg(long, value_name = "FILE", conflicts_with = "send_hex")]
    send_file: Option<PathBuf>,
    /// With raw, the bytes to send, such as 50494e470d0a
    #[arg(long, value_name = "HEX", value_parser = hex)]
    send_hex: Option<Arc<[u8]>>,
    /// With raw, how many bytes each reply has
    #[arg(long, value_name = "N", group = "expect", value_parser = clap::value_parser!(u64).range(1..))]
    expect_length: Option<u64>,
    /// With raw, the bytes that each reply ends with, where \r, \n, \t, \0, \\ and \xHH stand for one each
    #[arg(long, value_name = "TEXT", group = "expect", value_parser = delimiter)]
    expect_delimiter: Option<Delimiter>,
    /// With raw, the bytes that each reply is
    #[arg(long, value_name = "HEX", group = "expect", value_parser = hex)]
    expect_hex: Option<Arc<[u8]>>,
    /// With raw, the file whose bytes each reply is
    #[arg(long, value_name = "FILE", group = "expect")]
    expect_file: Option<PathBuf>,
}

/// What can be spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Random bytes, which come back as they were sent
    Echo,
    /// HTTP/1.1: the same GET again and again, over connections that are kept
    Http,
    /// Random printable lines, which come back as they were sent; with --no-verify, any line is a reply
    Lines,
    /// The bytes of --send-file or --send-hex again and again, and replies as --expect-... says
    Raw,
}

impl ProtocolArguments {
    /// What is spoken with `target`, and the sizes of the messages. With `verify` off, a reply that is known beforehand is not
    /// compared.
    ///
    /// # Errors
    ///
    /// What is wrong with the flags, or with a file, in one line.
    pub fn language(&self, target: &Target, verify: bool) -> Result<(Language, Sizes), String> {
        let name = self.name(target)?;
        self.refuse_others(name)?;
        let language = match name {
            Name::Echo => Language::Echo,
            Name::Lines => Language::Lines,
            Name::Http => {
                let path = target.path().or(self.path.as_deref()).unwrap_or("/");
                Language::Http(Get::new(&target.host(), path, &self.header)?)
            }
            Name::Raw => Language::Raw(Exchange { request: self.request()?, expect: self.expect(verify)? }),
        };
        Ok((language, self.size.clone().unwrap_or_else(|| Sizes::fixed(SIZE))))
    }

    fn name(&self, target: &Target) -> Result<Name, String> {
        match (target.path(), self.protocol) {
            (None, name) => Ok(name.unwrap_or(Name::Echo)),
            (Some(path), _) if self.path.is_some() => {
                Err(format!("--path cannot be used with {target}, which says already that it is {path}"))
            }
            (Some(_), None | Some(Name::Http)) => Ok(Name::Http),
            (Some(_), Some(_)) => Err(format!("--protocol must be http with {target}: write tcp://{}", target.host())),
        }
    }

    /// Refuses flags that mean something to other languages only.
    fn refuse_others(&self, name: Name) -> Result<(), String> {
        let sized: &[Name] = &[Name::Echo, Name::Lines];
        for (flag, given, of) in [
            ("--size", self.size.is_some(), sized),
            ("--path", self.path.is_some(), &[Name::Http]),
            ("--header", !self.header.is_empty(), &[Name::Http]),
            ("--send-file", self.send_file.is_some(), &[Name::Raw]),
            ("--send-hex", self.send_hex.is_some(), &[Name::Raw]),
            ("--expect-length", self.expect_length.is_some(), &[Name::Raw]),
            ("--expect-delimiter", self.expect_delimiter.is_some(), &[Name::Raw]),
            ("--expect-hex", self.expect_hex.is_some(), &[Name::Raw]),
            ("--expect-file", self.expect_file.is_some(), &[Name::Raw]),
        ] {
            if given && !of.contains(&name) {
                let names: Vec<_> = of.iter().map(|name| format!("--protocol {}", name.text())).collect();
                return Err(format!("{flag} is for {}, and this is {}", names.join(" and "), name.text()));
            }
        }
        Ok(())
    }

    fn request(&self) -> Result<Arc<[u8]>, String> {
        match (&self.send_file, &self.send_hex) {
            (Some(file), _) => read(file).map_err(|error| format!("--send-file: {error}")),
            (None, Some(bytes)) => Ok(Arc::clone(bytes)),
            (None, None) => Err("--protocol raw must be told what to send: --send-file or --send-hex".to_owned()),
        }
    }

    fn expect(&self, verify: bool) -> Result<Expect, String> {
        if let Some(length) = self.expect_length {
            Ok(Expect::Length(length))
        } else if let Some(delimiter) = &self.expect_delimiter {
            Ok(Expect::Delimiter(delimiter.clone()))
        } else if let Some(bytes) = &self.expect_hex {
            Ok(Expect::Exactly(Arc::clone(bytes), verify))
        } else if let Some(file) = &self.expect_file {
            read(file).map(|bytes| Expect::Exactly(bytes, verify)).map_err(|error| format!("--expect-file: {error}"))
        } else {
            let flags = "--expect-length, --expect-delimiter, --expect-hex or --expect-file";
            Err(format!("--protocol raw must be told where a reply ends: {flags}"))
        }
    }
}

impl Name {
    fn text(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// The bytes of a file: at least one, at most [`SIZE_MAX`].
fn read(path: &Path) -> Result<Arc<[u8]>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut bytes = Vec::new();
    let limit = SIZE_MAX as u64 + 1;
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(|error| wrong(&error))?;
    match bytes.len() {
        0 => Err(wrong(&"it is empty")),
        1..=SIZE_MAX => Ok(bytes.into()),
        _ => Err(wrong(&format_args!("it is longer than {SIZE_MAX} bytes"))),
    }
}

fn hex(text: &str) -> Result<Arc<[u8]>, String> {
    parse_hex(text).map(Arc::from)
}

fn delimiter(text: &str) -> Result<Delimiter, String> {
    Delimiter::new(&parse_escaped(text)?)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli;

    /// The flags alone.
    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        protocol: ProtocolArguments,
    }

    fn parse(target: &str, arguments: &[&str]) -> Result<Language, String> {
        let parsed = Flags::try_parse_from(["pants-load"].iter().chain(arguments));
        let flags = parsed.map_err(|error| cli::describe(&error))?;
        flags.protocol.language(&target.parse().unwrap(), true).map(|(language, _)| language)
    }

    fn text(language: &Language) -> String {
        String::from_utf8(language.request().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn the_default_is_the_echo_of_64_bytes_or_the_get_that_the_target_is() {
        let flags = Flags::parse_from(["pants-load"]);
        let (language, sizes) = flags.protocol.language(&"tcp://127.0.0.1:1".parse().unwrap(), true).unwrap();
        assert_eq!((language, sizes), (Language::Echo, Sizes::fixed(64)));
        let made = text(&parse("http://127.0.0.1:81/a?b", &[]).unwrap());
        assert_eq!(made, "GET /a?b HTTP/1.1\r\nHost: 127.0.0.1:81\r\n\r\n");
    }

    #[test]
    fn the_flags_of_http_make_its_request() {
        let flags = ["--protocol", "http", "--path", "/x", "--header", "A: b", "--header", "C: d"];
        let made = text(&parse("unix:/run/x.sock", &flags).unwrap());
        assert_eq!(made, "GET /x HTTP/1.1\r\nHost: localhost\r\nA: b\r\nC: d\r\n\r\n");
    }

    #[test]
    fn the_flags_of_raw_make_its_exchange() {
        let flags = ["--protocol", "raw", "--send-hex", "50 49", "--expect-delimiter", r"\r\n"];
        let expect = Expect::Delimiter(Delimiter::new(b"\r\n").unwrap());
        let exchange = Exchange { request: b"PI".as_slice().into(), expect };
        assert_eq!(parse("tcp://127.0.0.1:1", &flags), Ok(Language::Raw(exchange)));
    }

    #[test]
    fn what_contradicts_itself_is_told_in_one_line() {
        let tcp = "tcp://127.0.0.1:1";
        for (target, flags, part) in [
            (tcp, "--protocol ftp", "[possible values: echo, http, lines, raw]"),
            (tcp, "--path /", "--path is for --protocol http, and this is echo"),
            (tcp, "--protocol http --size 5", "--size is for --protocol echo and --protocol lines, and this is http"),
            (tcp, "--protocol lines --send-hex 00", "--send-hex is for --protocol raw, and this is lines"),
            (tcp, "--protocol http --path x", "begins with /"),
            (tcp, "--protocol http --header x", "expected a header field"),
            (tcp, "--protocol raw --expect-length 1", "told what to send: --send-file or --send-hex"),
            (tcp, "--protocol raw --send-hex 00", "told where a reply ends: --expect-length,"),
            (tcp, "--protocol raw --send-hex 00 --expect-length 0", "--expect-length"),
            (tcp, "--protocol raw --send-hex 0 --expect-length 1", "two hexadecimal digits"),
            (tcp, r"--protocol raw --send-hex 00 --expect-delimiter \q", "a backslash must be followed by"),
            (tcp, "--send-hex 00 --send-file x", "cannot be used with"),
            (tcp, "--expect-length 1 --expect-hex 00", "cannot be used with"),
            (tcp, "--protocol raw --send-file /nowhere --expect-length 1", "--send-file: /nowhere: No such file"),
            (tcp, "--protocol raw --send-hex 00 --expect-file /dev/null", "--expect-file: /dev/null: it is empty"),
            (tcp, "--protocol raw --send-file /dev/zero --expect-length 1", "longer than 16777216 bytes"),
            ("http://127.0.0.1:81/x", "--path /y", "which says already that it is /x"),
            ("http://127.0.0.1:81/x", "--protocol echo", "must be http with http://127.0.0.1:81/x: write tcp://"),
        ] {
            let error = parse(target, &flags.split(' ').collect::<Vec<_>>()).unwrap_err();
            assert!(error.contains(part) && error.lines().count() == 1, "{target} {flags}: {error}");
        }
    }
}
