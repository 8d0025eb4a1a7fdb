//! A socket whose every byte is the case's own: half-sent requests, pauses, resets, pipelines, contradicting lengths.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Answer, Request};
use crate::case::{CaseResult, Failure, within};

/// How long [`Wire::answer`] waits.
const PATIENCE: Duration = Duration::from_secs(10);
const MAX_FIELDS: usize = 100;

/// A connection and what has been read from it beyond the last answer.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    unread: BytesMut,
    host: String,
}

/// What frames the body that follows a header section (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, host: String) -> Self {
        Self { stream, unread: BytesMut::new(), host }
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> CaseResult {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// Sends only the header section of a request.
    pub async fn send_head(&mut self, request: &Request) -> CaseResult {
        let head = request.head(&self.host);
        self.send(&head).await
    }

    /// Sends a request with its body.
    pub async fn send_whole(&mut self, request: &Request) -> CaseResult {
        let bytes = request.whole(&self.host);
        self.send(&bytes).await
    }

    /// The next answer, informational ones included, within [`PATIENCE`].
    pub async fn any_answer(&mut self) -> Result<Answer, Failure> {
        within(PATIENCE, "an answer", self.read_answer(true)).await
    }

    /// The next final answer.
    pub async fn answer(&mut self) -> Result<Answer, Failure> {
        self.answer_within(PATIENCE).await
    }

    /// The next final answer, in less than `limit`.
    pub async fn answer_within(&mut self, limit: Duration) -> Result<Answer, Failure> {
        within(limit, "an answer", self.read_final(true)).await
    }

    /// The next final answer to a HEAD request: its length fields describe a body that does not follow.
    pub async fn answer_to_head(&mut self) -> Result<Answer, Failure> {
        within(PATIENCE, "an answer", self.read_final(false)).await
    }

    /// Sends a request and reads its answer.
    pub async fn exchange(&mut self, request: &Request) -> Result<Answer, Failure> {
        self.send_whole(request).await?;
        if request.method() == "HEAD" { self.answer_to_head().await } else { self.answer().await }
    }

    /// The peer has ended the connection, in order or by reset; whatever it still had to say is skipped.
    pub async fn expect_ended(&mut self, limit: Duration) -> CaseResult {
        within(limit, "the connection to be closed", async {
            let mut waste = [0; 4096];
            loop {
                match self.stream.read(&mut waste).await {
                    Ok(0) | Err(_) => return Ok(()),
                    Ok(_) => {}
                }
            }
        })
        .await
    }

    /// The peer has given this request up: it refused it, or ended the connection without a word.
    pub async fn expect_given_up(&mut self, limit: Duration) -> CaseResult {
        let told = tokio::time::timeout(limit, self.read_final(true)).await;
        match told {
            Ok(Ok(answer)) => answer.expect_refused().map(|_| ()),
            Ok(Err(_)) => Ok(()),
            Err(_elapsed) => Err(Failure::new(
                "a refusal or the end of the connection",
                format_args!("nothing for {} ms", limit.as_millis()),
            )),
        }
    }

    /// Nothing arrives for `span`, and the connection stays open.
    pub async fn expect_silence(&mut self, span: Duration) -> CaseResult {
        if !self.unread.is_empty() {
            return Err(Failure::new("no answer yet", format_args!("{} bytes", self.unread.len())));
        }
        match tokio::time::timeout(span, self.read_more()).await {
            Err(_elapsed) => Ok(()),
            Ok(Ok(())) => {
                let text: String = String::from_utf8_lossy(&self.unread).chars().take(60).collect();
                Err(Failure::new("no answer yet", format_args!("{text:?}")))
            }
            Ok(Err(failure)) => Err(Failure::new("no answer yet", failure)),
        }
    }

    /// Ends the sending side in order (FIN); the answer can still be read.
    pub async fn half_close(&mut self) -> CaseResult {
        Ok(self.stream.shutdown().await?)
    }

    /// Ends the connection with a reset (RST): bytes that the peer has not read yet are lost.
    pub fn reset(self) -> CaseResult {
        self.stream.set_zero_linger()?;
        drop(self.stream);
        Ok(())
    }

    async fn read_more(&mut self) -> CaseResult {
        if self.stream.read_buf(&mut self.unread).await? == 0 {
            return Err(Failure::because("the connection was closed without a complete answer"));
        }
        Ok(())
    }

    async fn read_final(&mut self, body_follows: bool) -> Result<Answer, Failure> {
        loop {
            let answer = self.read_answer(body_follows).await?;
            if answer.status >= 200 {
                return Ok(answer);
            }
        }
    }

    async fn read_answer(&mut self, body_follows: bool) -> Result<Answer, Failure> {
        let mut answer = loop {
            if let Some((answer, length)) = parse_head(&self.unread)? {
                self.unread.advance(length);
                break answer;
            }
            self.read_more().await?;
        };
        let bodiless = !body_follows || answer.status < 200 || answer.status == 204 || answer.status == 304;
        if !bodiless {
            answer.body = self.read_body(framing(&answer)?).await?;
        }
        Ok(answer)
    }

    async fn read_body(&mut self, framing: Framing) -> Result<Bytes, Failure> {
        match framing {
            Framing::Length(length) => {
                let length = usize::try_from(length).map_err(|_| Failure::new("a body that fits", length))?;
                while self.unread.len() < length {
                    self.read_more().await?;
                }
                Ok(self.unread.split_to(length).freeze())
            }
            Framing::Chunked => loop {
                if let Some((body, length)) = parse_chunked(&self.unread)? {
                    self.unread.advance(length);
                    return Ok(body);
                }
                self.read_more().await?;
            },
            Framing::UntilClose => {
                while self.stream.read_buf(&mut self.unread).await? > 0 {}
                Ok(self.unread.split().freeze())
            }
        }
    }
}

/// The header section at the start of `bytes` and its length, or `None` while it is incomplete.
fn parse_head(bytes: &[u8]) -> Result<Option<(Answer, usize)>, Failure> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    let status = head.parse(bytes).map_err(|error| {
        let start: String = String::from_utf8_lossy(bytes).chars().take(60).collect();
        Failure::new("an HTTP/1.1 answer", format_args!("{error}: {start:?}"))
    })?;
    match (status, head.code) {
        (httparse::Status::Complete(length), Some(code)) => {
            let lines = head.headers.iter().map(|field| (field.name, field.value));
            Ok(Some((Answer::from_parts(code, lines)?, length)))
        }
        (httparse::Status::Complete(_) | httparse::Status::Partial, _) => Ok(None),
    }
}

fn framing(answer: &Answer) -> Result<Framing, Failure> {
    let codings = answer.list("transfer-encoding");
    if codings.last().is_some_and(|coding| coding == "chunked") {
        return Ok(Framing::Chunked);
    }
    if !codings.is_empty() {
        return Ok(Framing::UntilClose);
    }
    let lengths = answer.list("content-length");
    match lengths.as_slice() {
        [] => Ok(Framing::UntilClose),
        [first, rest @ ..] if rest.iter().all(|other| other == first) => {
            first.parse().map(Framing::Length).map_err(|_| Failure::new("a Content-Length in bytes", first))
        }
        [..] => Err(Failure::new("one Content-Length", lengths.join(", "))),
    }
}

/// The body decoded from complete chunks at the start of `bytes` and the length of its encoded form, or `None` while
/// it is incomplete. Trailer fields are dropped.
fn parse_chunked(bytes: &[u8]) -> Result<Option<(Bytes, usize)>, Failure> {
    let mut body = BytesMut::new();
    let mut rest = bytes;
    loop {
        let (start, size) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Failure::because("the answer's chunked body is malformed")),
        };
        rest = rest.get(start..).unwrap_or_default();
        if size == 0 {
            let mut none = [httparse::EMPTY_HEADER; MAX_FIELDS];
            return match httparse::parse_headers(rest, &mut none) {
                Ok(httparse::Status::Complete((trailers, _))) => {
                    Ok(Some((body.freeze(), bytes.len() - rest.len() + trailers)))
                }
                Ok(httparse::Status::Partial) => Ok(None),
                Err(_) => Err(Failure::because("the answer's trailer section is malformed")),
            };
        }
        let size = usize::try_from(size).map_err(|_| Failure::new("a chunk that fits", size))?;
        let Some((data, after)) = rest.split_at_checked(size) else { return Ok(None) };
        match after.split_at_checked(2) {
            None => return Ok(None),
            Some((b"\r\n", after)) => rest = after,
            Some(_) => return Err(Failure::because("a chunk of the answer does not end where it said")),
        }
        body.extend_from_slice(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn wire_that_reads(answers: &'static [u8]) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut peer, _) = listener.accept().await.unwrap();
            for byte in answers {
                peer.write_all(&[*byte]).await.unwrap();
            }
        });
        Wire::new(TcpStream::connect(address).await.unwrap(), "test".into())
    }

    #[tokio::test]
    async fn answers_arriving_byte_by_byte_are_told_apart() {
        let mut wire = wire_that_reads(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n\
              HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 204 No Content\r\n\r\n",
        )
        .await;
        assert_eq!(wire.any_answer().await.unwrap().status, 100);
        assert_eq!(wire.answer().await.unwrap().status, 201);
        let third = wire.answer().await.unwrap();
        assert_eq!((third.status, third.body.as_ref()), (200, b"hello".as_slice()));
        assert_eq!(wire.answer().await.unwrap().status, 204);
        wire.expect_ended(Duration::from_secs(1)).await.unwrap();
    }

    #[tokio::test]
    async fn final_answers_are_found_behind_informational_ones() {
        let mut wire = wire_that_reads(
            b"HTTP/1.1 104 Upload Resumption Supported\r\n\r\nHTTP/1.1 409 Conflict\r\ncontent-length:0\r\n\r\n",
        )
        .await;
        assert_eq!(wire.answer().await.unwrap().status, 409);
    }

    #[tokio::test]
    async fn an_answer_to_head_has_no_body_whatever_its_length_says() {
        let mut wire = wire_that_reads(
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx",
        )
        .await;
        assert_eq!(wire.answer_to_head().await.unwrap().status, 200);
        assert_eq!(wire.answer().await.unwrap().status, 404);
    }

    #[tokio::test]
    async fn chunked_bodies_end_at_their_own_end() {
        let mut wire = wire_that_reads(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: u\r\n\r\n\
              HTTP/1.1 204 No Content\r\n\r\n",
        )
        .await;
        assert_eq!(wire.answer().await.unwrap().body.as_ref(), b"abcde");
        assert_eq!(wire.answer().await.unwrap().status, 204);
    }

    #[tokio::test]
    async fn a_body_without_length_ends_with_the_connection() {
        let mut wire = wire_that_reads(b"HTTP/1.1 200 OK\r\n\r\nall of it").await;
        assert_eq!(wire.answer().await.unwrap().body.as_ref(), b"all of it");
    }

    #[tokio::test]
    async fn a_truncated_answer_is_a_failure() {
        let mut wire = wire_that_reads(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc").await;
        assert!(wire.answer().await.unwrap_err().to_string().contains("without a complete answer"));
    }

    #[tokio::test]
    async fn contradicting_lengths_are_a_failure() {
        let mut wire =
            wire_that_reads(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n").await;
        assert_eq!(wire.answer().await.unwrap_err().to_string(), "expected one Content-Length; saw 5, 6");
    }

    #[tokio::test]
    async fn giving_up_is_a_refusal_or_an_end_but_no_success() {
        let limit = Duration::from_secs(1);
        let mut refused = wire_that_reads(b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n").await;
        assert!(refused.expect_given_up(limit).await.is_ok());
        assert!(wire_that_reads(b"").await.expect_given_up(limit).await.is_ok());
        let mut accepted = wire_that_reads(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").await;
        assert!(accepted.expect_given_up(limit).await.is_err());
    }

    #[tokio::test]
    async fn silence_means_open_and_quiet() {
        let mut closed = wire_that_reads(b"").await;
        assert!(closed.expect_silence(Duration::from_millis(500)).await.is_err());
        let mut talking = wire_that_reads(b"HTTP/1.1 200 OK\r\n").await;
        assert!(talking.expect_silence(Duration::from_millis(500)).await.is_err());
    }

    #[test]
    fn a_chunk_that_overruns_its_size_is_malformed() {
        assert!(parse_chunked(b"3\r\nabcd\r\n0\r\n\r\n").is_err());
        assert!(parse_chunked(b"zz\r\n").is_err());
        assert_eq!(parse_chunked(b"3\r\nab").unwrap(), None);
    }
}
