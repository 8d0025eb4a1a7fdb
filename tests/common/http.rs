//! HTTP/1 over a bare socket, one step at a time: a request's head, some bytes of its body, a pause, a reset.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use super::{server::LONG, slots::Slot};

/// An answer, read to its end.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text: String = self.text().chars().take(300).collect();
        write!(f, "{} {:?} {text}", self.status, self.headers)
    }
}

impl Answer {
    /// A head, with an empty body.
    pub(crate) fn parse(head: &str) -> Self {
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {head:?}"));
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Self { status, headers, body: Vec::new() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// `Upload-Offset`, where the answer has one.
    pub(crate) fn offset(&self) -> Option<u64> {
        self.header("upload-offset").map(|text| text.parse().expect("Upload-Offset is a number"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Conn {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Conn {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(address)?)
    }

    /// The same from another address of this machine, such as 127.0.0.2.
    pub(crate) fn open_from(source: IpAddr, address: SocketAddr) -> io::Result<Self> {
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect(&address.into())?;
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LONG))?;
        stream.set_write_timeout(Some(LONG))?;
        Ok(Self { stream, unread: Vec::new() })
    }

    pub(crate) fn read_timeout(&self, limit: Duration) {
        self.stream.set_read_timeout(Some(limit)).expect("a timeout above zero");
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// A request's head; `headers` without those that it needs anyway.
    pub(crate) fn head(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) -> io::Result<()> {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: test\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        self.send(format!("{head}\r\n").as_bytes())
    }

    /// The head of a plain PUT.
    pub(crate) fn put(&mut self, slot: &Slot) -> io::Result<()> {
        self.head("PUT", &slot.target, &[("Content-Length", &slot.size.to_string())])
    }

    /// The head of a ranged PUT of the bytes from `first` up to `end`, which is excluded.
    pub(crate) fn put_range(&mut self, slot: &Slot, first: u64, end: u64) -> io::Result<()> {
        let range = format!("bytes {first}-{}/{}", end - 1, slot.size);
        let length = (end - first).to_string();
        self.head("PUT", &slot.target, &[("Content-Length", &length), ("Content-Range", &range)])
    }

    /// Ask by `bytes */S` how far the upload is.
    pub(crate) fn query(&mut self, slot: &Slot) -> io::Result<Answer> {
        let range = format!("bytes */{}", slot.size);
        self.head("PUT", &slot.target, &[("Content-Length", "0"), ("Content-Range", &range)])?;
        self.answer()
    }

    /// HEAD of a path or of a slot's target.
    pub(crate) fn probe(&mut self, target: &str) -> io::Result<Answer> {
        self.head("HEAD", target, &[])?;
        self.answer_to(true)
    }

    /// HEAD with these fields.
    pub(crate) fn probe_with(&mut self, target: &str, headers: &[(&str, &str)]) -> io::Result<Answer> {
        self.head("HEAD", target, headers)?;
        self.answer_to(true)
    }

    pub(crate) fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.head("GET", path, &[])?;
        self.answer()
    }

    /// The next final answer; informational ones are read over.
    pub(crate) fn answer(&mut self) -> io::Result<Answer> {
        self.answer_to(false)
    }

    fn answer_to(&mut self, to_head: bool) -> io::Result<Answer> {
        loop {
            let answer = self.any_answer(to_head)?;
            if answer.status >= 200 {
                return Ok(answer);
            }
        }
    }

    /// The next answer, informational ones included.
    pub(crate) fn any_answer(&mut self, to_head: bool) -> io::Result<Answer> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            self.fill()?;
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        let head = String::from_utf8(head).expect("a head is text");
        let mut answer = Answer::parse(&head);
        let status = answer.status;
        assert_eq!(answer.header("transfer-encoding"), None, "answers of this server have a length: {head}");
        if !to_head && status >= 200 && status != 204 && status != 304 {
            let size: usize = answer.header("content-length").expect("a length").parse().expect("a number");
            while self.unread.len() < size {
                self.fill()?;
            }
            answer.body = self.unread.drain(..size).collect();
        }
        Ok(answer)
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut piece = [0; 64 * 1024];
        let size = self.stream.read(&mut piece)?;
        if size == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.unread.extend_from_slice(&piece[..size]);
        Ok(())
    }

    /// Whether the server has sent anything, or closed, within `limit`.
    pub(crate) fn is_quiet_for(&mut self, limit: Duration) -> bool {
        self.read_timeout(limit);
        let result = self.fill();
        self.read_timeout(LONG);
        matches!(result, Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }

    /// Read until the server closes; the bytes that came before.
    pub(crate) fn read_to_close(&mut self) -> io::Result<Vec<u8>> {
        let end = loop {
            if let Err(e) = self.fill() {
                break e;
            }
        };
        if end.kind() == ErrorKind::UnexpectedEof { Ok(std::mem::take(&mut self.unread)) } else { Err(end) }
    }

    /// Send no more, read on.
    pub(crate) fn half_close(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// End the connection with a reset instead of an orderly close.
    pub(crate) fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("SO_LINGER of a TCP socket");
    }

    /// A second handle on the same socket, e.g. to end it from another thread.
    pub(crate) fn handle(&self) -> TcpStream {
        self.stream.try_clone().expect("descriptors are at hand")
    }
}
