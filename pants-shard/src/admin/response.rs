//! What the admin endpoint says: HTTP/1.1 responses, whole. Pure.

/// What became of a request (RFC 9110, 15; RFC 6585, 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    HeadTooLarge,
    Unavailable,
    VersionNotSupported,
}

/// What the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Text,
    Html,
    Json,
    /// Prometheus' text format.
    Metrics,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::RequestTimeout => "408 Request Timeout",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
            Self::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

impl Body {
    /// The content's type, and for the page what it may load: nothing but itself and this endpoint's numbers.
    fn fields(self) -> &'static str {
        match self {
            Self::Text => "Content-Type: text/plain; charset=utf-8\r\n",
            Self::Json => "Content-Type: application/json\r\n",
            Self::Metrics => "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n",
            Self::Html => {
                "Content-Type: text/html; charset=utf-8\r\n\
                 Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                 connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
                 Referrer-Policy: no-referrer\r\n"
            }
        }
    }
}

/// A response, which says whether the connection ends with it.
pub(super) fn response(status: Status, kind: Body, body: &str, keep_alive: bool) -> Vec<u8> {
    let line = status.line();
    let (fields, length) = (kind.fields(), body.len());
    let allow = if status == Status::MethodNotAllowed { "Allow: GET\r\n" } else { "" };
    let connection = if keep_alive { "" } else { "Connection: close\r\n" };
    format!(
        "HTTP/1.1 {line}\r\n{fields}Content-Length: {length}\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\n{allow}{connection}\r\n{body}"
    )
    .into_bytes()
}

/// The response to what is not understood or not allowed; the connection ends with it.
pub(super) fn refusal(status: Status) -> Vec<u8> {
    // To a HEAD, which is not allowed, no body may follow.
    let body = if status == Status::MethodNotAllowed { String::new() } else { format!("{}\n", status.line()) };
    response(status, Body::Text, &body, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_has_its_length_and_says_when_it_is_the_last() {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let last = text(response(Status::Ok, Body::Text, "ok\n", false));
        assert!(last.starts_with("HTTP/1.1 200 OK\r\n") && last.ends_with("\r\n\r\nok\n"), "{last}");
        assert!(last.contains("\r\nContent-Length: 3\r\n") && last.contains("\r\nConnection: close\r\n"), "{last}");
        assert!(!text(response(Status::Ok, Body::Text, "ok\n", true)).contains("Connection"));
        let refused = text(refusal(Status::MethodNotAllowed));
        assert!(refused.contains("\r\nAllow: GET\r\n") && refused.contains("Content-Length: 0\r\n"), "{refused}");
    }
}
