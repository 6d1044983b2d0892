//! What a visitor of the admin endpoint asks for: HTTP/1.1 (RFC 9112), GET only, without a body. Pure.

use httparse::EMPTY_HEADER;
use pants_engine::{Frame, FrameError, Framer};

use super::response::Status;

/// The longest head of a request, in bytes.
pub(super) const HEAD_BYTES_MAX: usize = 8 * 1024;

/// The most header fields of a request.
const FIELDS_MAX: usize = 64;

/// Cuts input into the heads of requests, each up to and with its empty line.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// How far the present head has been looked through.
    looked: usize,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request<'a> {
    /// The path, without the query.
    pub(super) path: &'a str,
    /// Whether the connection may stay for another request.
    pub(super) keep_alive: bool,
}

impl Framer for Heads {
    fn next_frame(&mut self, input: &[u8]) -> Result<Option<Frame>, FrameError> {
        // Empty lines before the request are passed over (RFC 9112, 2.2).
        let begin = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        // The last bytes may be the beginning of the end.
        let from = self.looked.saturating_sub(2).max(begin);
        let end = (from..input.len()).find_map(|at| end_at(input, at));
        match end {
            Some(end) if end <= HEAD_BYTES_MAX => {
                self.looked = 0;
                Ok(Some(Frame::new(begin..end, end)))
            }
            None if input.len() < HEAD_BYTES_MAX => {
                self.looked = input.len();
                Ok(None)
            }
            _ => Err(FrameError::TooLong { limit: HEAD_BYTES_MAX }),
        }
    }
}

/// Where the head ends if a line ends at `at` and an empty one follows; a line may end with LF alone.
fn end_at(input: &[u8], at: usize) -> Option<usize> {
    match &input[at..] {
        [b'\n', b'\n', ..] => Some(at + 2),
        [b'\n', b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    }
}

/// Reads the head of a request.
///
/// # Errors
///
/// The status to refuse it with. The connection cannot go on: a body may follow, which nobody is to take for a request.
pub(super) fn parse(head: &[u8]) -> Result<Request<'_>, Status> {
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Status::BadRequest),
        Err(httparse::Error::TooManyHeaders) => return Err(Status::HeadTooLarge),
        Err(httparse::Error::Version) => return Err(Status::VersionNotSupported),
        Err(_) => return Err(Status::BadRequest),
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Status::BadRequest);
    };
    if method != "GET" {
        return Err(Status::MethodNotAllowed);
    }
    let persistent = version == 1;
    let (mut hosts, mut keep_alive) = (0, persistent);
    for field in request.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("transfer-encoding") || is("content-length") && field.value != b"0" {
            return Err(Status::BadRequest);
        }
        hosts += usize::from(is("host"));
        if is("connection") {
            let mut options = field.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            keep_alive &= !options.any(|option| option.eq_ignore_ascii_case(b"close"));
        }
    }
    // Since version 1.1 a request says whom it is for, once (RFC 9112, 3.2).
    if hosts > 1 || persistent && hosts == 0 {
        return Err(Status::BadRequest);
    }
    Ok(Request { path: path_of(target).ok_or(Status::BadRequest)?, keep_alive })
}

/// The path of a request's target, which may name the server too (RFC 9112, 3.2.2).
fn path_of(target: &str) -> Option<&str> {
    let target = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => target,
    };
    let (path, _query) = target.split_once('?').unwrap_or((target, ""));
    path.starts_with('/').then_some(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(lines: &str) -> String {
        format!("{lines}\r\n\r\n").replace('|', "\r\n")
    }

    fn refusal(lines: &str) -> Status {
        parse(head(lines).as_bytes()).unwrap_err()
    }

    #[test]
    fn a_request_is_its_path_and_whether_another_may_follow() {
        for (lines, path, keep_alive) in [
            ("GET / HTTP/1.1|Host: x", "/", true),
            ("GET /metrics?x=1&y HTTP/1.1|host: x|Accept: */*", "/metrics", true),
            ("GET http://127.0.0.1:9/stats.json HTTP/1.1|Host: x", "/stats.json", true),
            ("GET http://here HTTP/1.1|Host: x", "/", true),
            ("GET /a HTTP/1.1|Host: x|Connection: te, Close", "/a", false),
            ("GET /a HTTP/1.1|Host: x|Content-Length: 0", "/a", true),
            ("GET /a HTTP/1.0", "/a", false),
        ] {
            assert_eq!(parse(head(lines).as_bytes()), Ok(Request { path, keep_alive }), "{lines}");
        }
    }

    #[test]
    fn what_is_no_get_without_a_body_is_refused_by_its_status() {
        for lines in [
            "GET",
            "GET / HTTP/1.1",
            "GET / HTTP/1.1|Host: a|Host: b",
            "GET x HTTP/1.1|Host: x",
            "GET / HTTP/1.1|Host: x|Content-Length: 5",
            "GET / HTTP/1.1|Host: x|Transfer-Encoding: chunked",
            "GET / HTTP/1.1|Host : x",
            "G\0T / HTTP/1.1|Host: x",
        ] {
            assert_eq!(refusal(lines), Status::BadRequest, "{lines}");
        }
        for method in ["POST", "PUT", "HEAD", "DELETE", "CONNECT", "OPTIONS", "get"] {
            assert_eq!(refusal(&format!("{method} / HTTP/1.1|Host: x")), Status::MethodNotAllowed);
        }
        assert_eq!(refusal("GET / HTTP/2.0|Host: x"), Status::VersionNotSupported);
        assert_eq!(refusal(&format!("GET / HTTP/1.1|Host: x{}", "|a: b".repeat(FIELDS_MAX))), Status::HeadTooLarge);
    }

    /// Cuts `input` as it arrives in these pieces.
    fn cut(input: &[u8], pieces: &[usize]) -> Result<Vec<Vec<u8>>, FrameError> {
        let (mut framer, mut frames, mut begin, mut end) = (Heads::default(), Vec::new(), 0, 0);
        for piece in pieces.iter().copied().chain([input.len()]) {
            end = (end + piece).min(input.len());
            while begin < end {
                let Some(frame) = framer.next_frame(&input[begin..end])? else { break };
                frames.push(input[begin..end][frame.data].to_vec());
                begin += frame.consumed;
            }
        }
        Ok(frames)
    }

    #[test]
    fn heads_are_cut_at_their_empty_lines() {
        let frames = cut(b"\r\n\nGET a\r\nb\r\n\r\nGET b\n\nrest", &[1, 1, 3]).unwrap();
        assert_eq!(frames, [&b"GET a\r\nb\r\n\r\n"[..], b"GET b\n\n"]);
    }

    #[test]
    fn a_head_may_have_8_kib_and_no_byte_more() {
        let head = |length: usize| [vec![b'x'; length - 4], b"\r\n\r\n".to_vec()].concat();
        assert_eq!(cut(&head(HEAD_BYTES_MAX), &[]).unwrap().len(), 1);
        assert!(cut(&head(HEAD_BYTES_MAX + 1), &[]).is_err());
        assert!(cut(&head(HEAD_BYTES_MAX + 1), &[HEAD_BYTES_MAX]).is_err());
        assert!(cut(&[b'\n'; HEAD_BYTES_MAX], &[]).is_err(), "empty lines have no end either");
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            input in "(a|\r\n|\n|\r|GET / HTTP/1.1\r\n){0,40}",
            pieces in proptest::collection::vec(1..9_usize, 0..40),
        ) {
            prop_assert_eq!(cut(input.as_bytes(), &pieces), cut(input.as_bytes(), &[]));
        }

        #[test]
        fn whatever_comes_is_a_request_or_a_refusal(input in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&input);
        }

        #[test]
        fn whatever_follows_a_get_keeps_to_the_path(rest in "[ -~\r\n]{0,100}") {
            if let Ok(request) = parse(format!("GET {rest}\r\n\r\n").as_bytes()) {
                prop_assert!(request.path.starts_with('/') && !request.path.contains('?'));
            }
        }
    }
}
