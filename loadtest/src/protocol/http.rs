//! HTTP/1.1: the same GET again and again over one connection, and where each response ends (RFC 9112).

use std::mem::MaybeUninit;
use std::sync::Arc;

use httparse::{Header, ParserConfig, Response, Status};

use crate::count::failure::Kind;
use crate::protocol::chunked::Chunks;
use crate::protocol::{Fault, Protocol, Taken, Verdict};

/// The longest head of a response, in bytes: what a common server sends at most, and twice what a common client takes.
pub const HEAD_MAX: usize = 32 * 1024;

/// The most header fields of a response.
pub const HEADERS_MAX: usize = 128;

/// What is requested; the same on every connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get(Arc<[u8]>);

/// One connection's requests and responses.
#[derive(Debug)]
pub struct Http {
    get: Get,
    state: State,
    /// What has come of a head that is not complete. Invariant: at most [`HEAD_MAX`] bytes; empty but in [`State::Head`].
    head: Vec<u8>,
    /// What the present response is, as far as its head says.
    verdict: Verdict,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum State {
    Head,
    /// This many bytes.
    Length(u64),
    Chunks(Chunks),
    /// Everything up to the end of the connection.
    UntilClose,
}

impl Get {
    /// The request of `path` from `host`, with further header fields. One of the fields may be another `Host`.
    ///
    /// # Errors
    ///
    /// What is wrong with the path or a field, in one line.
    pub fn new(host: &str, path: &str, fields: &[String]) -> Result<Self, String> {
        check_path(path)?;
        let mut text = format!("GET {path} HTTP/1.1\r\n");
        let fields = fields.iter().map(|field| check_field(field)).collect::<Result<Vec<_>, _>>()?;
        if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text += &format!("Host: {host}\r\n");
        }
        for (name, value) in fields {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        Ok(Self(text.into_bytes().into()))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Checks what is to be got: the `origin-form` of RFC 9112, section 3.2.1.
///
/// # Errors
///
/// What is wrong with it, in one line.
pub fn check_path(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err(format!("the path {path:?} must be one that begins with /"));
    }
    match path.chars().find(|char| !char.is_ascii_graphic() || *char == '#') {
        Some(char) => Err(format!("the path has the character {char:?}: write it in percent-encoding, such as %20")),
        None => Ok(()),
    }
}

/// Parts a header field in its name and its value (RFC 9110, section 5).
fn check_field(field: &str) -> Result<(&str, &str), String> {
    let wrong = || format!("expected a header field such as \"Accept: text/html\", found {field:?}");
    let (name, value) = field.split_once(':').ok_or_else(wrong)?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let value = value.trim_matches([' ', '\t']);
    if name.is_empty() || !name.bytes().all(is_token) || value.contains(|char: char| char.is_control() && char != '\t')
    {
        return Err(wrong());
    }
    if ["content-length", "transfer-encoding", "upgrade"].iter().any(|other| name.eq_ignore_ascii_case(other)) {
        return Err(format!("{name} cannot be sent: a request is a GET without a body"));
    }
    Ok((name, value))
}

impl Http {
    /// A connection on which nothing has been said.
    pub fn new(get: Get) -> Self {
        Self { get, state: State::Head, head: Vec::new(), verdict: Verdict::default() }
    }

    /// Takes bytes of a head; how many belong to it.
    fn take_head(&mut self, data: &[u8]) -> Result<usize, Fault> {
        if self.head.is_empty() {
            // Most heads come whole, and are not copied.
            if let Some(length) = self.read_head(data)? {
                return Ok(length);
            }
        }
        let kept = self.head.len();
        let taken = data.len().min(HEAD_MAX - kept);
        let mut head = std::mem::take(&mut self.head);
        head.extend_from_slice(&data[..taken]);
        match self.read_head(&head)? {
            // It was not complete before, so that it ends in what has come now.
            Some(length) => Ok(length - kept),
            None if head.len() == HEAD_MAX => Err(malformed(format!("its head is longer than {HEAD_MAX} bytes"))),
            None => {
                self.head = head;
                Ok(taken)
            }
        }
    }

    /// Reads a head if it is complete, and sets what comes next; how long it is.
    fn read_head(&mut self, data: &[u8]) -> Result<Option<usize>, Fault> {
        // It costs some to clear as many fields as there may be, most of which no response has.
        let mut fields = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut response = Response::new(&mut []);
        let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, data, &mut fields);
        let length = match parsed.map_err(|error| malformed(error.to_string()))? {
            Status::Complete(length) if length > HEAD_MAX => {
                return Err(malformed(format!("its head is longer than {HEAD_MAX} bytes")));
            }
            Status::Complete(length) => length,
            Status::Partial => return Ok(None),
        };
        let status = response.code.unwrap_or_default();
        match status {
            101 => return Err(malformed("it switches to another protocol".to_owned())),
            // The response proper comes behind it (RFC 9110, section 15.2).
            100..200 => return Ok(Some(length)),
            200..600 => {}
            _ => return Err(malformed(format!("its status is {status}"))),
        }
        let head = Head { status, minor: response.version.unwrap_or_default(), fields: response.headers };
        self.state = head.body()?;
        let until_close = matches!(self.state, State::UntilClose);
        self.verdict = Verdict {
            wrong_bytes: 0,
            status: (status >= 400).then_some(status),
            last: until_close || !head.persists(),
        };
        Ok(Some(length))
    }

    /// Takes bytes of a body; how many belong to it.
    fn take_body(&mut self, data: &[u8]) -> Result<usize, Fault> {
        Ok(match &mut self.state {
            State::Head => 0,
            State::UntilClose => data.len(),
            State::Length(left) => {
                let taken = usize::try_from(*left).map_or(data.len(), |left| left.min(data.len()));
                *left -= taken as u64;
                taken
            }
            State::Chunks(chunks) => chunks.take(data).map_err(|wrong| malformed(wrong.to_owned()))?,
        })
    }

    /// What the response was, if nothing more of it is to come.
    fn complete(&mut self) -> Option<Verdict> {
        let complete = match &self.state {
            State::Head | State::UntilClose => false,
            State::Length(left) => *left == 0,
            State::Chunks(chunks) => chunks.is_complete(),
        };
        complete.then(|| {
            self.state = State::Head;
            self.verdict
        })
    }
}

impl Protocol for Http {
    #[inline]
    fn request(&mut self, _number: u64) -> &[u8] {
        &self.get.0
    }

    fn take(&mut self, _number: u64, data: &[u8]) -> Result<Taken, Fault> {
        let mut used = 0;
        while used < data.len() {
            used += match self.state {
                State::Head => self.take_head(&data[used..])?,
                _ => self.take_body(&data[used..])?,
            };
            if let Some(verdict) = self.complete() {
                return Ok(Taken { used, reply: Some(verdict) });
            }
        }
        Ok(Taken { used, reply: None })
    }

    fn take_end(&mut self, _number: u64) -> Option<Verdict> {
        matches!(self.state, State::UntilClose).then(|| {
            self.state = State::Head;
            self.verdict
        })
    }
}

/// What the head of a response says of its end.
struct Head<'a> {
    status: u16,
    /// The version: HTTP/1.0 or 1.1.
    minor: u8,
    fields: &'a [Header<'a>],
}

impl Head<'_> {
    /// The elements of the lists of all fields of this name.
    fn elements(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let fields = self.fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
        fields.flat_map(|field| field.value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
    }

    fn has_element(&self, name: &str, element: &str) -> bool {
        self.elements(name).any(|found| found.eq_ignore_ascii_case(element.as_bytes()))
    }

    /// Whether the connection stays after this response (RFC 9112, section 9.3).
    fn persists(&self) -> bool {
        !self.has_element("connection", "close") && (self.minor > 0 || self.has_element("connection", "keep-alive"))
    }

    /// What the body is, by the rules of RFC 9112, section 6.3, for the answer to a GET.
    fn body(&self) -> Result<State, Fault> {
        if matches!(self.status, 204 | 304) {
            return Ok(State::Length(0));
        }
        let (coding, length) = (self.elements("transfer-encoding").last(), self.length()?);
        match (coding, length) {
            (Some(_), _) if self.minor == 0 => Err(malformed("it has a Transfer-Encoding in HTTP/1.0".to_owned())),
            (Some(_), Some(_)) => Err(malformed("it has both a Transfer-Encoding and a Content-Length".to_owned())),
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(State::Chunks(Chunks::default())),
            (None, Some(length)) => Ok(State::Length(length)),
            (_, None) => Ok(State::UntilClose),
        }
    }

    /// Its `Content-Length`. Several are one, if they say the same (RFC 9110, section 8.6).
    fn length(&self) -> Result<Option<u64>, Fault> {
        let mut length = None;
        for text in self.elements("content-length") {
            let digits = text.iter().all(u8::is_ascii_digit);
            let value = std::str::from_utf8(text).ok().filter(|_| digits).and_then(|text| text.parse().ok());
            if value.is_none() || length.is_some_and(|length| Some(length) != value) {
                return Err(malformed(format!("its Content-Length is \"{}\"", text.escape_ascii())));
            }
            length = value;
        }
        Ok(length)
    }
}

#[cold]
fn malformed(wrong: String) -> Fault {
    Fault { kind: Kind::Malformed, detail: format!("what came back is no HTTP response: {wrong}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::tests::{Heard, hear, hear_in_pieces};

    fn http() -> Http {
        Http::new(Get::new("localhost", "/", &[]).unwrap())
    }

    fn fields(fields: &[&str]) -> Vec<String> {
        fields.iter().map(|field| (*field).to_owned()).collect()
    }

    /// The verdicts on responses that come whole.
    fn verdicts(data: &[u8]) -> Vec<Verdict> {
        let heard = hear(http(), data);
        assert_eq!((heard.fault, heard.is_between), (None, true), "{}", data.escape_ascii());
        heard.verdicts
    }

    fn fault(data: &[u8]) -> String {
        hear(http(), data).fault.expect("it is malformed").detail
    }

    const GOOD: Verdict = Verdict { wrong_bytes: 0, status: None, last: false };

    #[test]
    fn the_request_names_the_host_once_and_has_the_fields_in_order() {
        let get = Get::new("localhost:80", "/a?b", &fields(&["Accept:  text/html ", "X-Empty:"])).unwrap();
        let expected = "GET /a?b HTTP/1.1\r\nHost: localhost:80\r\nAccept: text/html\r\nX-Empty: \r\n\r\n";
        assert_eq!(get.bytes(), expected.as_bytes());
        let get = Get::new("localhost:80", "/", &fields(&["host: other"])).unwrap();
        assert_eq!(get.bytes(), b"GET / HTTP/1.1\r\nhost: other\r\n\r\n");
    }

    #[test]
    fn what_would_be_no_request_is_refused() {
        for (path, field, part) in [
            ("a", "X: y", "begins with /"),
            ("/a b", "X: y", "%20"),
            ("/\u{e9}", "X: y", "percent-encoding"),
            ("/a#b", "X: y", "'#'"),
            ("/", "X", "expected a header field"),
            ("/", ": y", "expected a header field"),
            ("/", "X Y: z", "expected a header field"),
            ("/", "X: y\r\nZ: w", "expected a header field"),
            ("/", "content-LENGTH: 1", "a GET without a body"),
        ] {
            let error = Get::new("h", path, &fields(&[field])).unwrap_err();
            assert!(error.contains(part) && error.lines().count() == 1, "{path} {field}: {error}");
        }
    }

    #[test]
    fn a_body_of_known_length_of_none_and_in_chunks_has_its_end() {
        for data in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nab",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\nx",
        ] {
            assert_eq!(verdicts(data.as_bytes()), [GOOD], "{data}");
            assert_eq!(verdicts(data.repeat(3).as_bytes()), [GOOD; 3], "{data}");
        }
    }

    #[test]
    fn a_status_from_400_on_counts_and_its_body_is_read() {
        let data = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nwait";
        let mut http = http();
        let taken = http.take(0, data).unwrap();
        assert_eq!(taken, Taken { used: data.len(), reply: Some(Verdict { status: Some(503), ..GOOD }) });
        assert_eq!(verdicts(b"HTTP/1.1 399 x\r\nContent-Length: 0\r\n\r\n"), [GOOD]);
    }

    #[test]
    fn a_server_that_closes_says_so() {
        for head in [
            "HTTP/1.1 200 OK\r\nConnection: close\r\n",
            "HTTP/1.1 200 OK\r\nConnection: foo, Close\r\n",
            "HTTP/1.0 200 OK\r\n",
        ] {
            let data = format!("{head}Content-Length: 0\r\n\r\n");
            assert_eq!(verdicts(data.as_bytes()), [Verdict { last: true, ..GOOD }], "{head}");
        }
    }

    #[test]
    fn a_body_without_a_length_ends_with_the_connection() {
        let mut http = http();
        let data = b"HTTP/1.1 404 Not Found\r\n\r\nsome text";
        assert_eq!(http.take(0, data).unwrap(), Taken { used: data.len(), reply: None });
        assert_eq!(http.take(0, b"more").unwrap(), Taken { used: 4, reply: None });
        assert_eq!(http.take_end(0), Some(Verdict { status: Some(404), last: true, ..GOOD }));
    }

    #[test]
    fn an_end_within_a_head_or_a_body_of_known_length_completes_nothing() {
        for data in ["HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "HTTP/1.1 200 OK\r\n"] {
            let mut http = http();
            assert_eq!(http.take(0, data.as_bytes()).unwrap().reply, None);
            assert_eq!(http.take_end(0), None, "{data}");
        }
    }

    #[test]
    fn what_is_no_response_is_told() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n";
        for (data, part) in [
            ("SSH-2.0-OpenSSH_9.2\r\n", "what came back is no HTTP response"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n", "Content-Length is \"2\""),
            ("HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n", "Content-Length is \"+1\""),
            ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "Content-Length"),
            ("HTTP/1.1 101 Go\r\nUpgrade: x\r\n\r\n", "another protocol"),
            ("HTTP/1.1 999 x\r\n\r\n", "status is 999"),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "in HTTP/1.0"),
            (&format!("{chunked}Content-Length: 3\r\n\r\n"), "both"),
            (&format!("{chunked}\r\nx\r\n"), "chunk"),
        ] {
            let error = fault(data.as_bytes());
            assert!(error.contains(part) && error.lines().count() == 1, "{data}: {error}");
        }
    }

    #[test]
    fn a_head_that_does_not_end_is_given_up_at_its_limit() {
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(HEAD_MAX));
        assert!(fault(endless.as_bytes()).contains("longer than 32768 bytes"));
        let pieces = hear_in_pieces(http(), endless.as_bytes(), &[1000]);
        assert!(pieces.fault.unwrap().detail.contains("longer than 32768 bytes"));
        let fits = format!("HTTP/1.1 204 x\r\nX: {}\r\n\r\n", "x".repeat(HEAD_MAX - 23));
        assert_eq!((fits.len(), verdicts(fits.as_bytes())), (HEAD_MAX, vec![GOOD]));
        assert_eq!(hear_in_pieces(http(), fits.as_bytes(), &[1000]).verdicts, [GOOD]);
    }

    /// One response, right as a server would make it, and whether it is good.
    fn response() -> impl Strategy<Value = (Vec<u8>, bool)> {
        let chunks = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..4);
        (prop_oneof![Just(200_u16), Just(204), Just(404)], chunks, any::<bool>(), any::<bool>()).prop_map(
            |(status, chunks, chunked, hint)| {
                let mut data = if hint { b"HTTP/1.1 103 Hint\r\nA: b\r\n\r\n".to_vec() } else { Vec::new() };
                data.extend_from_slice(format!("HTTP/1.1 {status} x\r\nServer: y\r\n").as_bytes());
                if status == 204 {
                    data.extend_from_slice(b"\r\n");
                } else if chunked {
                    data.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                    for chunk in chunks {
                        data.extend_from_slice(format!("{:x};a=b\r\n", chunk.len()).as_bytes());
                        data.extend_from_slice(&chunk);
                        data.extend_from_slice(b"\r\n");
                    }
                    data.extend_from_slice(b"0\r\nT: u\r\n\r\n");
                } else {
                    let body = chunks.concat();
                    data.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
                    data.extend_from_slice(&body);
                }
                (data, status < 400)
            },
        )
    }

    proptest! {
        #[test]
        fn responses_are_the_same_in_any_pieces(
            responses in proptest::collection::vec(response(), 1..6), cuts in proptest::collection::vec(1_usize..90, 1..30)
        ) {
            let data: Vec<u8> = responses.iter().flat_map(|(data, _)| data).copied().collect();
            let heard = hear_in_pieces(http(), &data, &cuts);
            let good: Vec<bool> = heard.verdicts.iter().map(|verdict| verdict.status.is_none()).collect();
            let expected: Vec<bool> = responses.iter().map(|(_, good)| *good).collect();
            prop_assert_eq!((good, heard.is_between, heard.fault), (expected, true, None));
        }

        #[test]
        fn no_bytes_make_it_panic_and_pieces_do_not_matter(
            tail in proptest::collection::vec(any::<u8>(), 0..200), start in 0_usize..5, cuts in proptest::collection::vec(1_usize..30, 1..30)
        ) {
            let head = ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"][start];
            let data = [head.as_bytes(), &tail].concat();
            let (Heard { verdicts, fault, .. }, pieces) = (hear(http(), &data), hear_in_pieces(http(), &data, &cuts));
            prop_assert_eq!((verdicts, fault.is_some()), (pieces.verdicts, pieces.fault.is_some()));
        }
    }
}
