//! A phone's side of HTTP/1.1: a socket with a source address, a head, slices of a body, an answer.

use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::common::http::Answer;

/// A phone that hears nothing for so long tries again. A healthy server on a loaded machine needs a fraction.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection.
#[derive(Debug)]
pub(crate) struct Line {
    stream: TcpStream,
    unread: Vec<u8>,
}

async fn patiently<T>(what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, what).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

impl Line {
    pub(crate) async fn open(from: Ipv4Addr, to: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let stream = patiently(socket.connect(to)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: Vec::new() })
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        patiently(self.stream.write_all(bytes)).await
    }

    /// A request's head; `headers` without Host.
    pub(crate) async fn head(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, String)],
    ) -> io::Result<()> {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: test\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        self.send(format!("{head}\r\n").as_bytes()).await
    }

    /// The next answer, which may be an informational one. `to_head`: it has no body whatever its length says.
    pub(crate) async fn any_answer(&mut self, to_head: bool) -> io::Result<Answer> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            self.fill().await?;
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        let mut answer = Answer::parse(&String::from_utf8(head).expect("a head is text"));
        let size: usize = answer.header("content-length").map_or(0, |size| size.parse().expect("a length"));
        if !to_head && answer.status >= 200 {
            while self.unread.len() < size {
                self.fill().await?;
            }
            let rest = self.unread.split_off(size);
            answer.body = std::mem::replace(&mut self.unread, rest);
        }
        Ok(answer)
    }

    /// The next final answer.
    pub(crate) async fn answer(&mut self) -> io::Result<Answer> {
        loop {
            let answer = self.any_answer(false).await?;
            if answer.status >= 200 {
                return Ok(answer);
            }
        }
    }

    pub(crate) async fn get(&mut self, target: &str, headers: &[(&str, String)]) -> io::Result<Answer> {
        self.head("GET", target, headers).await?;
        self.answer().await
    }

    async fn fill(&mut self) -> io::Result<()> {
        self.unread.reserve(16 << 10);
        match patiently(self.stream.read_buf(&mut self.unread)).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Whether the server has answered, or closed, while the body is still under way.
    pub(crate) fn is_answered(&mut self) -> bool {
        let mut piece = [0; 4096];
        match self.stream.try_read(&mut piece) {
            Ok(size) => {
                self.unread.extend_from_slice(&piece[..size]);
                true
            }
            Err(e) => e.kind() != ErrorKind::WouldBlock,
        }
    }

    /// End with a reset instead of an orderly close.
    pub(crate) fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("SO_LINGER of a TCP socket");
    }
}

/// The value of a metric; its name with its labels, if it has some.
pub(crate) async fn metric(by: crate::net::Link, name: &str) -> f64 {
    let mut line =
        Line::open(by.near(), by.server(crate::net::METRICS_PORT)).await.expect("metrics are served");
    let page = line.get("/metrics", &[]).await.expect("a page").expect(200).text();
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in\n{page}")).parse().expect("a number")
}
