//! A request, described before anybody decides how to send it.

use bytes::Bytes;

/// Method, target, header fields and body; nothing is added or normalised on the way.
#[derive(Debug, Clone)]
pub struct Request {
    method: &'static str,
    target: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Request {
    /// A request without fields or body. `target` is the request target as it goes over the wire.
    pub fn new(method: &'static str, target: impl Into<String>) -> Self {
        Self { method, target: target.into(), headers: Vec::new(), body: Bytes::new() }
    }

    /// Adds a field line; the same name may come twice.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds a bearer token.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    /// Sets the body. Its length is announced by [`crate::ctx::Ctx::send`] and [`Self::whole`], never by [`Self::head`].
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Announces a body of `length` bytes, whatever the body is.
    #[must_use]
    pub fn length(self, length: u64) -> Self {
        self.header("Content-Length", length)
    }

    /// Announces a chunked body.
    #[must_use]
    pub fn chunked(self) -> Self {
        self.header("Transfer-Encoding", "chunked")
    }

    pub(crate) fn method(&self) -> &'static str {
        self.method
    }

    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    pub(crate) fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    pub(crate) fn content(&self) -> &Bytes {
        &self.body
    }

    fn announces_length(&self) -> bool {
        self.headers.iter().any(|(name, _)| {
            name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding")
        })
    }

    /// Whether a length field has to be added for the body to arrive.
    pub(crate) fn needs_length(&self) -> bool {
        !self.announces_length() && (matches!(self.method, "PUT" | "POST" | "PATCH") || !self.body.is_empty())
    }

    /// The header section with its closing empty line, exactly as described.
    pub fn head(&self, host: &str) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head.push_str(name);
            head.push_str(": ");
            head.push_str(value);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Header section and body; a missing length is announced.
    pub fn whole(&self, host: &str) -> Vec<u8> {
        let described =
            if self.needs_length() { self.clone().length(self.body.len() as u64) } else { self.clone() };
        let mut bytes = described.head(host);
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// One chunk of a chunked body. An empty one ends the body, with no trailer section.
pub fn chunk(data: &[u8]) -> Vec<u8> {
    let mut encoded = format!("{:x}\r\n", data.len()).into_bytes();
    encoded.extend_from_slice(data);
    encoded.extend_from_slice(b"\r\n");
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_section_is_written_verbatim() {
        let request =
            Request::new("PUT", "/a%20b?v=1").header("content-length", "5").header("Content-Length", "6");
        assert_eq!(
            request.head("h:1"),
            b"PUT /a%20b?v=1 HTTP/1.1\r\nHost: h:1\r\ncontent-length: 5\r\nContent-Length: 6\r\n\r\n"
        );
    }

    #[test]
    fn a_whole_request_announces_a_length_once() {
        let request = Request::new("PUT", "/a").body("abc");
        assert_eq!(request.whole("h"), b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
        let explicit = Request::new("PUT", "/a").length(9).body("abc");
        assert_eq!(explicit.whole("h"), b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc");
        assert_eq!(Request::new("GET", "/a").whole("h"), b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    }

    #[test]
    fn chunks_carry_their_length_in_hexadecimal() {
        assert_eq!(chunk(&[b'x'; 17])[..4], *b"11\r\n");
        assert_eq!(chunk(b""), b"0\r\n\r\n");
    }
}
