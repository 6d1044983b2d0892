//! What can be spoken beside the echo, with servers of a few plain threads and with real ones.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::outside::Outside;
use crate::support::*;

/// An HTTP server whose answer is `respond`'s, from how many requests there were before on the connection, and whether it closes
/// then. It says nothing to a request that does not have all of `parts`.
fn http_server(
    parts: &'static [&'static str],
    respond: impl Fn(u64) -> (String, bool) + Send + Sync + 'static,
) -> SocketAddr {
    server(move |stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        for number in 0.. {
            match read_head(&mut reader) {
                Some(head) if parts.iter().all(|part| head.contains(part)) => {}
                _ => return,
            }
            let (answer, closes) = respond(number);
            // In small pieces, so that they come apart now and then.
            for piece in answer.as_bytes().chunks(7) {
                if (&stream).write_all(piece).is_err() {
                    return;
                }
            }
            if closes {
                let _ = stream.shutdown(std::net::Shutdown::Write);
                return;
            }
        }
    })
}

fn read_head(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

/// How many messages a run has counted as good, sent and answered.
fn counts(json: &serde_json::Value) -> [u64; 3] {
    let number = |value: &serde_json::Value| value.as_u64().expect("it is a number");
    let result = &json["result"];
    [number(&result["messages"]), number(&result["total"]["sent"]), number(&result["total"]["replied"])]
}

#[test]
fn every_form_of_http_body_is_an_answer() {
    let address = http_server(&["GET /a?b HTTP/1.1\r\nHost: 127.0.0.1:", "\r\nAccept: x/y\r\n"], |number| {
        let body = match number % 4 {
            0 => "200 OK\r\nContent-Length: 11\r\n\r\nhello world",
            1 => "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: u\r\n\r\n",
            2 => "204 No Content\r\n\r\n",
            _ => "304 Not Modified\r\nContent-Length: 11\r\n\r\n",
        };
        (format!("HTTP/1.1 {body}"), false)
    });
    let flags = ["--header", "Accept: x/y", "--count", "400", "--connections", "4", "--depth", "3"];
    let (ended, json) = load_target(&format!("http://{address}/a?b"), &flags);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!((counts(&json), failures(&json, "none")), ([400; 3], (0, 0)));
    assert_eq!(
        (&json["options"]["protocol"], &json["options"]["target"]),
        (&"http".into(), &format!("http://{address}/a?b").into())
    );
    let request = json["options"]["request"].as_str().unwrap();
    assert!(request.starts_with("GET /a?b HTTP/1.1\\r\\nHost: 127.0.0.1:"), "{request}");
}

#[test]
fn a_status_from_400_on_is_a_failure_of_its_own_and_the_connection_goes_on() {
    let address = http_server(&["GET / HTTP/1.1\r\nHost: "], |number| {
        let status = if number % 10 == 9 { "503 Busy" } else { "200 OK" };
        (format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok"), false)
    });
    let (ended, json) = load_target(&format!("http://{address}"), &["--count", "200", "--connections", "2"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!((counts(&json), failures(&json, "status")), ([180, 200, 200], (20, 0)));
    assert_eq!(json["result"]["failures"]["kinds"]["status"]["first"], "status 503");
}

#[test]
fn a_server_that_closes_behind_an_answer_is_met_again() {
    for (head, body) in [
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\n", "some text"),
        ("HTTP/1.0 200 OK\r\n\r\n", ""),
    ] {
        let answer = format!("{head}{body}");
        let address = http_server(&["GET / HTTP/1.1\r\nHost: "], move |_| (answer.clone(), true));
        let (ended, json) = load_target(&format!("http://{address}"), &["--count", "20", "--connections", "2"]);
        assert_eq!((ended.code, counts(&json), failures(&json, "none")), (Some(0), [20; 3], (0, 0)), "{ended:?}");
        assert_eq!(json["result"]["total"]["connections"], 20, "one for each answer");
    }
}

#[test]
fn what_is_no_http_ends_the_connection_as_malformed() {
    let address = http_server(&["GET / HTTP/1.1\r\nHost: "], |_| ("SSH-2.0-x\r\n".to_owned(), false));
    let (ended, json) = load_target(&format!("http://{address}"), &["--count", "3", "--connections", "3"]);
    assert_eq!((ended.code, failures(&json, "malformed")), (Some(1), (3, 3)), "{ended:?}");
    let first = json["result"]["failures"]["kinds"]["malformed"]["first"].as_str().unwrap();
    assert!(first.contains("no HTTP response"), "{first}");
}

#[test]
fn nginx_serves_a_page_and_misses_another() {
    let page = "x".repeat(4_000);
    let Some(nginx) = Outside::start("nginx", |directory, socket, command| {
        fs::write(directory.join("index.html"), &page).unwrap();
        let path = directory.display();
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid {path}/pid;\nerror_log {path}/error.log;\nevents {{}}\n\
             http {{\n  access_log off;\n  client_body_temp_path {path}/body;\n  proxy_temp_path {path}/proxy;\n  \
             fastcgi_temp_path {path}/fastcgi;\n  uwsgi_temp_path {path}/uwsgi;\n  scgi_temp_path {path}/scgi;\n  \
             server {{ listen unix:{socket}; root {path}; keepalive_requests 100000; }}\n}}\n"
        );
        fs::write(directory.join("nginx.conf"), configuration).unwrap();
        command.arg("-p").arg(directory).arg("-c").arg(directory.join("nginx.conf"));
    }) else {
        return;
    };
    let flags = ["--protocol", "http", "--connections", "4", "--count", "1000", "--depth", "4"];
    let (ended, json) = load_target(&nginx.target(), &[&flags[..], &["--path", "/index.html"]].concat());
    assert_eq!((ended.code, counts(&json)), (Some(0), [1_000; 3]), "{ended:?}");
    assert!(json["result"]["total"]["bytes_in"].as_u64().unwrap() > 1_000 * page.len() as u64);
    let (ended, json) = load_target(&nginx.target(), &[&flags[..], &["--path", "/none"]].concat());
    assert_eq!((ended.code, failures(&json, "status")), (Some(1), (1_000, 0)), "{ended:?}");
    assert_eq!(json["result"]["failures"]["kinds"]["status"]["first"], "status 404");
}

#[test]
fn lines_come_back_as_they_were_sent() {
    let lines = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&lines);
    let address = server(move |stream| {
        echo(stream, |data| {
            assert!(data.iter().all(|byte| byte.is_ascii_graphic() || *byte == b'\n'));
            seen.fetch_add(data.iter().filter(|byte| **byte == b'\n').count() as u64, Ordering::Relaxed);
        });
    });
    let (ended, json) = load(address, "--protocol lines --size uniform:1-300 --depth 5 --connections 3 --count 999");
    assert_eq!((ended.code, counts(&json), lines.load(Ordering::Relaxed)), (Some(0), [999; 3], 999), "{ended:?}");
    assert_eq!((&json["options"]["protocol"], &json["options"]["size"]), (&"lines".into(), &"uniform:1-300".into()));
}

#[test]
fn a_line_that_is_not_the_one_that_was_sent_is_corrupt_and_unverified_it_is_not() {
    let answers = |stream: TcpStream| {
        for line in BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok) {
            let _ = (&stream).write_all(format!("{}\n", &line[..line.len() - 3]).as_bytes());
        }
    };
    let address = server(answers);
    let (ended, json) = load(address, "--protocol lines --count 50 --connections 2");
    assert_eq!((ended.code, failures(&json, "corrupt")), (Some(1), (50, 0)), "{ended:?}");
    assert_eq!(json["result"]["failures"]["wrong_bytes"], 150);
    let (ended, json) = load(address, "--protocol lines --count 50 --connections 2 --no-verify");
    assert_eq!((ended.code, counts(&json)), (Some(0), [50; 3]), "{ended:?}");
}

#[test]
fn sizes_of_a_distribution_are_what_the_seed_makes_them() {
    let address = server(|stream| echo(stream, |_| ()));
    let bytes_of = |seed: &str| {
        let (ended, json) =
            load(address, &format!("--size exp:500 --count 700 --connections 7 --depth 2 --seed {seed}"));
        assert_eq!((ended.code, counts(&json)), (Some(0), [700; 3]), "{ended:?}");
        let total = &json["result"]["total"];
        assert_eq!(total["bytes_in"], total["bytes_out"]);
        total["bytes_out"].as_u64().unwrap()
    };
    let bytes = bytes_of("1");
    assert_eq!(bytes, bytes_of("1"));
    assert_ne!(bytes, bytes_of("2"));
    // The sum of 700 has a standard deviation of 500 times 26.5.
    assert!(bytes.abs_diff(350_000) < 6 * 13_250, "{bytes}");
}

#[test]
fn redis_answers_a_ping() {
    let Some(redis) = Outside::start("redis-server", |_, socket, command| {
        command.args(["--port", "0", "--unixsocket", socket, "--save", "", "--daemonize", "no"]);
    }) else {
        return;
    };
    let flags =
        ["--protocol", "raw", "--send-hex", "50494e470d0a", "--count", "2000", "--connections", "5", "--depth", "8"];
    for expect in [["--expect-delimiter", r"\r\n"], ["--expect-length", "7"], ["--expect-hex", "2b504f4e470d0a"]] {
        let (ended, json) = load_target(&redis.target(), &[&flags[..], &expect].concat());
        assert_eq!((ended.code, counts(&json)), (Some(0), [2_000; 3]), "{ended:?}");
        assert_eq!(json["result"]["total"]["bytes_in"], 2_000 * "+PONG\r\n".len());
    }
    // What is expected to be another answer is found to be wrong, in two bytes.
    let (ended, json) = load_target(&redis.target(), &[&flags[..], &["--expect-hex", "2b50414e470a0a"]].concat());
    assert_eq!((ended.code, failures(&json, "corrupt")), (Some(1), (2_000, 0)), "{ended:?}");
    assert_eq!(json["result"]["failures"]["wrong_bytes"], 4_000);
}

#[test]
fn a_file_is_sent_as_it_is_and_can_be_what_is_expected() {
    let file = ScratchFile::new();
    let bytes: Vec<u8> = (0..100_000_u32).map(|index| (index % 251) as u8).collect();
    fs::write(file.path(), &bytes).unwrap();
    let address = server(|stream| echo(stream, |_| ()));
    let flags =
        format!("--protocol raw --send-file {0} --expect-file {0} --count 40 --connections 4 --depth 2", file.path());
    let (ended, json) = load(address, &flags);
    assert_eq!((ended.code, counts(&json)), (Some(0), [40; 3]), "{ended:?}");
    assert_eq!(json["result"]["total"]["bytes_out"], 40 * bytes.len());
}
