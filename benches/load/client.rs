//! A client that costs little: PUTs of equal size over kept-alive connections, one thread a connection.
//!
//! `load ADDRESS TARGETS CONNECTIONS BYTES` reads one request target a line from the file TARGETS, sends each once,
//! and prints `SECONDS REQUESTS`. Any answer but 201 ends it with an error. Standard library only, so that
//! `rustc -O` builds it within a second.

use std::{
    env,
    error::Error,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Instant,
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, targets, connections, bytes] = arguments.as_slice() else {
        return Err("usage: load ADDRESS TARGETS CONNECTIONS BYTES".into());
    };
    let targets = fs::read_to_string(targets)?;
    let targets: Vec<&str> = targets.lines().collect();
    let connections: usize = connections.parse()?;
    let body = vec![b'x'; bytes.parse()?];
    let streams = (0..connections).map(|_| TcpStream::connect(address)).collect::<std::io::Result<Vec<_>>>()?;
    let began = Instant::now();
    thread::scope(|scope| {
        let shares = targets.chunks(targets.len().div_ceil(connections));
        let threads: Vec<_> = streams
            .into_iter()
            .zip(shares)
            .map(|(stream, share)| scope.spawn(|| put_all(stream, share, &body)))
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
    })?;
    println!("{:.6} {}", began.elapsed().as_secs_f64(), targets.len());
    Ok(())
}

fn put_all(mut stream: TcpStream, targets: &[&str], body: &[u8]) -> Result<()> {
    stream.set_nodelay(true)?;
    let (mut request, mut answer) = (Vec::new(), Vec::new());
    for target in targets {
        request.clear();
        write!(request, "PUT {target} HTTP/1.1\r\nHost: bench\r\nContent-Length: {}\r\n\r\n", body.len())?;
        request.extend_from_slice(body);
        stream.write_all(&request)?;
        read_answer(&mut stream, &mut answer)?;
        if !answer.starts_with(b"HTTP/1.1 201") {
            return Err(format!("{target}: {}", String::from_utf8_lossy(&answer)).into());
        }
    }
    Ok(())
}

/// One answer with its body, which is never followed by another one here.
fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<()> {
    answer.clear();
    let mut piece = [0; 4096];
    loop {
        let size = stream.read(&mut piece)?;
        if size == 0 {
            return Err("the server closed the connection".into());
        }
        answer.extend_from_slice(&piece[..size]);
        if let Some(end) = answer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = std::str::from_utf8(&answer[..end])?.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(Ok(0), |text| text.trim().parse())?;
            if answer.len() >= end + 4 + length {
                return Ok(());
            }
        }
    }
}
