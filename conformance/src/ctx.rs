//! What a case knows about the target, and the slots it invents there.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::net::{TcpSocket, TcpStream, lookup_host};

use crate::case::{Failure, within};
use crate::http::{Answer, Request, Wire, plain};
use crate::session::{Place, SessionTarget};
use crate::token::{self, Claims};
use crate::tus::TusTarget;

/// RFC 3986 unreserved characters stay, everything else is encoded, `/` included.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const EXCHANGE_LIMIT: Duration = Duration::from_secs(15);

/// JID that the suite's bearer tokens name.
pub const UPLOADER: &str = "romeo@montague.tld";

/// The target and what was said about it on the command line.
#[derive(Debug, Clone)]
pub struct Ctx {
    /// `host:port`, to connect to and for the Host field.
    pub authority: String,
    /// Path in front of every upload, without a closing slash.
    pub base: String,
    /// The secret shared with the target; without it uploads are sent bare and credential cases fail.
    pub secret: Option<Vec<u8>>,
    /// How long the target lets a body stay silent.
    pub body_gap: Duration,
    /// How long the target waits for a header section.
    pub header_timeout: Duration,
    /// What is known of the target as a tus server.
    pub tus: TusTarget,
    /// What is known of its sessions.
    pub session: SessionTarget,
}

/// A place for one upload.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Percent-decoded, below the base path: what tokens sign.
    pub path: String,
    /// Path of the download and, with the credential, of the upload.
    pub url: String,
    /// Bytes.
    pub size: u64,
    query: String,
}

impl Slot {
    /// A PUT with the slot's credential and no body yet.
    pub fn put(&self) -> Request {
        Request::new("PUT", format!("{}{}", self.url, self.query))
    }

    /// A PUT with another query; an empty one stands for no credential.
    pub fn put_with(&self, query: &str) -> Request {
        let mark = if query.is_empty() { "" } else { "?" };
        Request::new("PUT", format!("{}{mark}{query}", self.url))
    }

    /// A request of another method with the slot's credential.
    pub fn request(&self, method: &'static str) -> Request {
        Request::new(method, format!("{}{}", self.url, self.query))
    }

    /// A download.
    pub fn get(&self) -> Request {
        Request::new("GET", self.url.clone())
    }

    /// A HEAD without credential.
    pub fn head(&self) -> Request {
        Request::new("HEAD", self.url.clone())
    }

    /// First segment and last segment of the path.
    pub fn ends(&self) -> (&str, &str) {
        let first = self.path.split('/').next().unwrap_or_default();
        let last = self.path.rsplit('/').next().unwrap_or_default();
        (first, last)
    }

    /// The claims that a bearer token for this slot makes.
    pub fn claims(&self, content_type: &str) -> Claims {
        let (slot, filename) = self.ends();
        Claims {
            sub: UPLOADER.into(),
            slot: slot.into(),
            filename: filename.into(),
            filesize: self.size,
            filetype: content_type.into(),
            lifetime: 300,
        }
    }
}

impl Ctx {
    /// The secret, or why a credential case cannot be carried out.
    pub fn secret(&self) -> Result<&[u8], Failure> {
        self.secret.as_deref().ok_or_else(|| {
            Failure::because("no secret was given, so that no token can be minted for this case")
        })
    }

    /// A new slot for a file of `size` bytes; its v1 token is minted when a secret is known.
    pub fn slot(&self, name: &str, size: u64) -> Result<Slot, Failure> {
        self.slot_encoded(name, &encode_segment(name), size)
    }

    /// A new slot whose name is written `encoded` in URLs.
    pub fn slot_encoded(&self, name: &str, encoded: &str, size: u64) -> Result<Slot, Failure> {
        let folder = unique();
        self.slot_at(format!("{folder}/{name}"), format!("{}/{folder}/{encoded}", self.base), size)
    }

    /// A slot at a given path.
    pub fn slot_at(&self, path: String, url: String, size: u64) -> Result<Slot, Failure> {
        let query = match &self.secret {
            Some(secret) => format!("?v={}", token::v1(secret, &path, size)?),
            None => String::new(),
        };
        Ok(Slot { path, url, size, query })
    }

    /// The slot as seen by a server that would have granted it for another size.
    pub fn resized(&self, slot: &Slot, size: u64) -> Result<Slot, Failure> {
        self.slot_at(slot.path.clone(), slot.url.clone(), size)
    }

    /// A new slot and a random body for it.
    pub fn file(&self, name: &str, size: usize) -> Result<(Slot, Bytes), Failure> {
        let slot = self.slot(name, size as u64)?;
        let body = noise(&slot.path, size);
        Ok((slot, body))
    }

    /// Uploads a new file whole and expects 201.
    pub async fn uploaded(&self, name: &str, size: usize) -> Result<(Slot, Bytes), Failure> {
        let (slot, body) = self.file(name, size)?;
        self.send(&slot.put().body(body.clone())).await?.expect_status(201).map_err(|f| f.at("upload"))?;
        Ok((slot, body))
    }

    /// One request on a connection of its own.
    pub async fn send(&self, request: &Request) -> Result<Answer, Failure> {
        self.send_from(Place::Usual, request).await
    }

    /// One request on a connection of its own, from a given place.
    pub async fn send_from(&self, place: Place, request: &Request) -> Result<Answer, Failure> {
        let what = format!("an answer to {}", request.method());
        within(EXCHANGE_LIMIT, &what, async {
            match place {
                Place::Usual => plain::exchange(self.stream().await?, &self.authority, request).await,
                Place::Socket(address) => {
                    plain::exchange(self.stream_from(address).await?, &self.authority, request).await
                }
                Place::Forwarded(address) => {
                    let request = request.clone().header("X-Forwarded-For", address);
                    plain::exchange(self.stream().await?, &self.authority, &request).await
                }
            }
        })
        .await
    }

    /// A bare connection.
    pub async fn connect(&self) -> Result<Wire, Failure> {
        Ok(Wire::new(self.stream().await?, self.authority.clone()))
    }

    async fn stream(&self) -> Result<TcpStream, Failure> {
        within(CONNECT_LIMIT, "a connection", async {
            let stream = TcpStream::connect(&self.authority).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        })
        .await
    }

    async fn stream_from(&self, address: IpAddr) -> Result<TcpStream, Failure> {
        within(CONNECT_LIMIT, "a connection", async {
            let target = lookup_host(&self.authority)
                .await?
                .find(|target| target.is_ipv4() == address.is_ipv4())
                .ok_or_else(|| Failure::because(format_args!("{address} cannot reach the target")))?;
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.bind((address, 0).into())?;
            let stream = socket.connect(target).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        })
        .await
    }

    /// The download is complete and byte-identical.
    pub async fn expect_served(&self, slot: &Slot, body: &[u8]) -> Result<Answer, Failure> {
        let answer = self.send(&slot.get()).await?;
        answer.expect_status(200).map_err(|failure| failure.at("GET"))?;
        crate::case::expect_bytes("the download", body, &answer.body)?;
        Ok(answer)
    }

    /// The upload is not there for readers: 404.
    pub async fn expect_not_served(&self, slot: &Slot) -> Result<(), Failure> {
        self.send(&slot.get())
            .await?
            .expect_status(404)
            .map_err(|failure| failure.at("GET of what is incomplete"))?;
        Ok(())
    }
}

/// A path segment that no other slot has.
#[expect(clippy::disallowed_methods, reason = "slots of separate runs against one server must not meet")]
pub fn unique() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// The segment with everything but unreserved characters percent-encoded.
pub fn encode_segment(segment: &str) -> String {
    utf8_percent_encode(segment, SEGMENT).to_string()
}

/// `size` bytes that do not compress, differ from seed to seed and never repeat at an offset.
pub fn noise(seed: &str, size: usize) -> Bytes {
    let mut state = seed
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(size);
    Bytes::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ctx(secret: Option<&str>) -> Ctx {
        Ctx {
            authority: "127.0.0.1:1".into(),
            base: "/upload".into(),
            secret: secret.map(|secret| secret.as_bytes().to_vec()),
            body_gap: Duration::from_secs(60),
            header_timeout: Duration::from_secs(30),
            tus: TusTarget::default(),
            session: SessionTarget::default(),
        }
    }

    #[test]
    fn urls_are_encoded_and_tokens_sign_the_decoded_path() {
        let slot = ctx(Some("s3cret")).slot("très cool.jpg", 5).unwrap();
        assert!(slot.url.ends_with("/tr%C3%A8s%20cool.jpg"), "{}", slot.url);
        let mac = token::v1(b"s3cret", &slot.path, 5).unwrap();
        assert!(slot.path.ends_with("/très cool.jpg"));
        assert_eq!(
            slot.put().head("h"),
            format!("PUT {}?v={mac} HTTP/1.1\r\nHost: h\r\n\r\n", slot.url).as_bytes()
        );
    }

    #[test]
    fn without_a_secret_uploads_are_bare_and_credential_cases_cannot_run() {
        let ctx = ctx(None);
        let slot = ctx.slot("a.txt", 5).unwrap();
        assert_eq!(slot.put().head("h"), slot.put_with("").head("h"));
        assert!(ctx.secret().is_err());
    }

    #[test]
    fn slots_and_bodies_never_repeat() {
        let ctx = ctx(None);
        let (first, one) = ctx.file("a", 1000).unwrap();
        let (second, two) = ctx.file("a", 1000).unwrap();
        assert_ne!(first.path, second.path);
        assert_ne!(one, two);
        assert_eq!(one.len(), 1000);
        assert_eq!(noise("x", 13), noise("x", 100).slice(..13));
    }
}
