//! Answers to what no handler sees: heads that cannot be parsed, are too large or too slow, and handlers that failed.
//!
//! They have the CORS fields and the problem document of every other answer, so that a browser's client can read them.

use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;

use super::{
    cors::Cors,
    reply::{Content, Reply},
};

/// [ENG-129] What a client that waits to be asked for its body is told.
pub const CONTINUE: StatusCode = StatusCode::CONTINUE;

/// Makes these answers.
#[derive(Clone, Debug)]
pub struct Early {
    cors: Cors,
}

impl Early {
    /// With the CORS fields of the other answers.
    #[must_use]
    pub fn new(cors: Cors) -> Self {
        Self { cors }
    }

    /// [XEP-100] A head that is larger than the server reads.
    #[must_use]
    pub fn head_too_large(&self) -> Reply {
        self.reply(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
    }

    /// A handler that panicked.
    #[must_use]
    pub fn failed(&self) -> Reply {
        self.reply(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// [XEP-102] HTTP/1: a head that did not come in time.
    #[must_use]
    pub fn head_too_slow(&self) -> Bytes {
        self.http1(StatusCode::REQUEST_TIMEOUT)
    }

    /// HTTP/1: the preface of HTTP/2, which is switched off.
    #[must_use]
    pub fn version(&self) -> Bytes {
        self.http1(StatusCode::HTTP_VERSION_NOT_SUPPORTED)
    }

    /// [XEP-101] HTTP/1: in place of the bare answer that begins with these bytes, and its status.
    #[must_use]
    pub fn instead_of(&self, bare: &[u8]) -> Option<(u16, Bytes)> {
        let status = bare.strip_prefix(b"HTTP/1.")?.get(2..5)?;
        let status = StatusCode::from_bytes(status).ok().filter(StatusCode::is_client_error)?;
        Some((status.as_u16(), self.http1(status)))
    }

    fn reply(&self, status: StatusCode) -> Reply {
        let (word, detail) = match status {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => (
                "head-too-large",
                "the head of the request, all its fields together, is larger than the server reads",
            ),
            StatusCode::URI_TOO_LONG => ("uri-too-long", "the request's target is too long"),
            StatusCode::REQUEST_TIMEOUT => {
                ("head-too-slow", "the head of the request did not arrive in time")
            }
            StatusCode::HTTP_VERSION_NOT_SUPPORTED => {
                ("version", "HTTP/2 is switched off on this server; use HTTP/1.1")
            }
            StatusCode::INTERNAL_SERVER_ERROR => (
                "fault",
                "The server failed to carry out the request. What it acknowledged is safe; try again.",
            ),
            _ => ("malformed", "the head of the request is not HTTP"),
        };
        let mut reply = Reply::problem(status, word, detail);
        // Whose page asks is not known: with a list of origins none of them reads this answer.
        self.cors.mark(None, &mut reply.headers);
        reply
    }

    fn http1(&self, status: StatusCode) -> Bytes {
        let reply = self.reply(status);
        let body = match reply.content {
            Content::Whole(bytes) => bytes,
            Content::Empty | Content::Stream(_) => Bytes::new(),
        };
        let mut text = BytesMut::with_capacity(2048);
        text.put_slice(format!("HTTP/1.1 {status}\r\n").as_bytes());
        for (name, value) in &reply.headers {
            text.put_slice(name.as_str().as_bytes());
            text.put_slice(b": ");
            text.put_slice(value.as_bytes());
            text.put_slice(b"\r\n");
        }
        text.put_slice(format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()).as_bytes());
        text.put_slice(&body);
        text.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn early() -> Early {
        Early::new(Cors { origins: None, allow_credentials: false, max_age: 1 })
    }

    #[test]
    fn a_bare_refusal_becomes_one_that_a_browser_can_read() {
        let (status, bytes) =
            early().instead_of(b"HTTP/1.1 431 Request Header Fields Too Large\r\n").unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert_eq!(status, 431);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{head}");
        for line in [
            "access-control-allow-origin: *",
            "content-type: application/problem+json",
            "connection: close",
            &format!("content-length: {}", body.len()),
        ] {
            assert!(head.lines().any(|found| found == line), "{line} in\n{head}");
        }
    }

    #[test]
    fn nothing_else_is_replaced() {
        for other in ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP", "", "hello"] {
            assert!(early().instead_of(other.as_bytes()).is_none(), "{other}");
        }
    }
}
