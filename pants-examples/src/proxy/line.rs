//! A pair's line in the log: fields as `key=value`, quoted where they must be. Pure.

use std::fmt;
use std::time::Duration;

use pants_shard::{Address, Endpoint};

use super::ending::Ending;

/// What is told of a pair when it is over.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) client: &'a Endpoint,
    /// The upstream that was tried last.
    pub(super) upstream: Option<&'a Address>,
    /// Bytes that the client has sent.
    pub(super) from_client: u64,
    /// Bytes that the upstream has sent.
    pub(super) from_upstream: u64,
    pub(super) duration: Duration,
    /// How many upstreams were tried.
    pub(super) attempts: usize,
    pub(super) ending: &'a Ending,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of an endpoint, an address is what is written on one line whatever the peer has called itself.
        let client = match self.client {
            Endpoint::Unnamed => "unnamed".to_owned(),
            named => Address::from(named.clone()).to_string(),
        };
        write!(f, "client={}", Value(&client))?;
        if let Some(upstream) = self.upstream {
            write!(f, " upstream={}", Value(&upstream.to_string()))?;
        }
        write!(f, " from_client={} from_upstream={}", self.from_client, self.from_upstream)?;
        write!(f, " seconds={:.3} attempts={}", self.duration.as_secs_f64(), self.attempts)?;
        write!(f, " by={} reason={}", self.ending.by(), Value(&self.ending.to_string()))
    }
}

/// A value in quotes if it could be taken for more than one, or for none.
struct Value<'a>(&'a str);

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |char: char| char.is_ascii_graphic() && !matches!(char, '"' | '=');
        if !self.0.is_empty() && self.0.chars().all(is_plain) {
            f.write_str(self.0)
        } else {
            fmt::Debug::fmt(self.0, f)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use pants_shard::CloseReason;

    use super::*;
    use crate::proxy::ending::Side;

    #[test]
    fn a_line_has_every_field() {
        let line = Line {
            client: &Endpoint::Ip("127.0.0.1:1".parse().unwrap()),
            upstream: Some(&Address::Path("/run/x.sock".into())),
            from_client: 1,
            from_upstream: 2,
            duration: Duration::from_micros(1_234_567),
            attempts: 3,
            ending: &Ending::Broken(Side::Client, CloseReason::Reset),
        };
        assert_eq!(
            line.to_string(),
            "client=127.0.0.1:1 upstream=/run/x.sock from_client=1 from_upstream=2 seconds=1.235 attempts=3 by=client \
             reason=\"reset by peer\""
        );
    }

    #[test]
    fn no_name_that_a_client_gives_itself_looks_like_another_field_or_line() {
        for (name, written) in [("/a b", "\"/a b\""), ("/a=b", "\"/a=b\""), ("/a\nb", "\"/a\u{fffd}b\""), ("/a", "/a")]
        {
            let line = Line {
                client: &Endpoint::Path(Path::new(name).into()),
                upstream: None,
                from_client: 0,
                from_upstream: 0,
                duration: Duration::ZERO,
                attempts: 0,
                ending: &Ending::Idle,
            };
            let line = line.to_string();
            assert!(line.starts_with(&format!("client={written} from_client=0 ")), "{line}");
        }
    }
}
