//! What the suite knows of a target's sessions, grace and guards, and the requests that try them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::case::{CaseResult, Condition, Failure, Need, Step as _, expect};
use crate::ctx::{Ctx, Slot, UPLOADER, unique};
use crate::http::{Answer, Request};
use crate::token::Claims;
use crate::tus::{OFFSET_OCTET_STREAM, VERSION, slice};

/// The field that names a session.
pub const SESSION_ID: &str = "X-Session-ID";

/// The fields that belong to the holder of a session alone.
const HOLDERS_FIELDS: [&str; 4] =
    ["x-session-id", "x-session-token", "x-session-expires", "x-upload-session-timeout"];

/// What the command line says of the target's sessions.
#[derive(Debug, Clone)]
pub struct SessionTarget {
    /// Path of the session resource.
    pub path: String,
    /// An address of this machine, beside the usual one, from which the target can be reached.
    pub other_address: Option<IpAddr>,
    /// Whether the target believes the forwarding headers of the suite.
    pub is_trusted_proxy: bool,
    /// How long the target's sessions live, where a case can wait for it.
    pub max_age: Option<Duration>,
    /// Whether expired tokens have any grace.
    pub has_grace: bool,
    /// The ceiling of grace, where it is lower than usual.
    pub grace_ceiling: Option<Duration>,
    /// Failures that ban an address.
    pub ban_after: Option<u32>,
    /// Requests that an address may send in a minute.
    pub requests_per_minute: Option<u32>,
    /// Requests that a subject may send in a minute.
    pub subject_requests_per_minute: Option<u32>,
}

impl Default for SessionTarget {
    fn default() -> Self {
        Self {
            path: "/session".into(),
            other_address: None,
            is_trusted_proxy: false,
            max_age: None,
            has_grace: true,
            grace_ceiling: None,
            ban_after: None,
            requests_per_minute: None,
            subject_requests_per_minute: None,
        }
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Wherever the system takes it from.
    Usual,
    /// A socket that is bound to this address.
    Socket(IpAddr),
    /// This address, as a proxy tells it.
    Forwarded(IpAddr),
}

impl Place {
    /// The address that the target should see, where the suite knows it.
    pub fn address(self) -> Option<IpAddr> {
        match self {
            Self::Usual => None,
            Self::Socket(address) | Self::Forwarded(address) => Some(address),
        }
    }
}

impl SessionTarget {
    /// What the command line would have to say for these needs, if anything.
    pub fn missing(&self, needs: &[Need]) -> Option<String> {
        needs.iter().find_map(|need| match need {
            Need::Session(condition) => self.lacks(*condition),
            Need::Extension(_)
            | Need::MaxSize
            | Need::OpenCreation
            | Need::GrantedCreation
            | Need::GrantedAccess
            | Need::ShortExpiry => None,
        })
    }

    fn lacks(&self, condition: Condition) -> Option<String> {
        let (holds, missing) = match condition {
            Condition::TwoAddresses => (
                self.is_trusted_proxy || self.other_address.is_some(),
                "neither --other-address nor --trusted-proxy",
            ),
            Condition::TrustedProxy => (self.is_trusted_proxy, "no --trusted-proxy"),
            Condition::UntrustedPeer => (!self.is_trusted_proxy, "--trusted-proxy was given"),
            Condition::ShortSession => (self.max_age.is_some(), "no --session-max-age"),
            Condition::Grace => {
                (self.has_grace && self.grace_ceiling.is_none(), "--no-grace or --grace-ceiling was given")
            }
            Condition::LowCeiling => (self.has_grace && self.grace_ceiling.is_some(), "no --grace-ceiling"),
            Condition::NoGrace => (!self.has_grace, "no --no-grace"),
            Condition::Ban => (
                self.is_trusted_proxy && self.ban_after.is_some(),
                "--ban-after and --trusted-proxy were not both given",
            ),
            Condition::AddressRate => (
                self.is_trusted_proxy && self.requests_per_minute.is_some(),
                "--requests-per-minute and --trusted-proxy were not both given",
            ),
            Condition::SubjectRate => (
                self.is_trusted_proxy && self.subject_requests_per_minute.is_some(),
                "--subject-requests-per-minute and --trusted-proxy were not both given",
            ),
        };
        (!holds).then(|| missing.to_owned())
    }

    /// Two places that differ in their address.
    pub fn places(&self) -> Result<[Place; 2], Failure> {
        if self.is_trusted_proxy {
            return Ok([Place::Forwarded(strange_v4().into()), Place::Forwarded(strange_v4().into())]);
        }
        let other = self.other_address.ok_or_else(|| Failure::because("no second address was given"))?;
        Ok([Place::Usual, Place::Socket(other)])
    }
}

/// An address for benchmarks (RFC 2544) that no other case uses.
pub fn strange_v4() -> Ipv4Addr {
    let [.., high, middle, low] = draw().to_be_bytes();
    Ipv4Addr::new(198, 18 + (high & 1), middle, low)
}

/// A /64 of unique local addresses (RFC 4193) that no other case uses.
pub fn strange_v6_network() -> [u16; 4] {
    let bits = draw();
    let part = |shift: u32| (bits >> shift & 0xffff) as u16;
    [0xfd00 | part(0) & 0xff, part(16), part(32), part(48)]
}

/// An address in a /64.
pub fn v6_in([a, b, c, d]: [u16; 4], host: u16) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, d, 0, 0, 0x5e55, host)
}

fn draw() -> u64 {
    unique()
        .chars()
        .filter_map(|c| c.to_digit(16))
        .take(12)
        .fold(0, |bits, digit| bits << 4 | u64::from(digit))
}

/// An upload that was begun with a good token, and the session that this opened.
#[derive(Debug, Clone)]
pub struct Held {
    /// Where.
    pub slot: Slot,
    /// All of its bytes.
    pub body: Bytes,
    /// Bytes stored.
    pub offset: usize,
    /// The session's id.
    pub session: String,
    /// The upload's id.
    pub upload: String,
    /// Whose it is.
    pub subject: &'static str,
}

impl Held {
    /// A request without any credential.
    pub fn bare(&self, method: &'static str) -> Request {
        bare(&self.slot, method)
    }

    /// A request with the session alone.
    pub fn with_session(&self, method: &'static str) -> Request {
        self.bare(method).header(SESSION_ID, &self.session)
    }
}

/// A request at the slot without any credential.
pub fn bare(slot: &Slot, method: &'static str) -> Request {
    Request::new(method, slot.url.clone())
}

/// A plain PUT of everything.
pub fn plain(request: Request, body: &Bytes) -> Request {
    request.body(body.clone())
}

/// A ranged PUT of the bytes `from..to`.
pub fn ranged(request: Request, body: &Bytes, from: usize, to: usize) -> Request {
    ranged_head(request, body.len(), from, to).body(slice(body, from, to))
}

/// The fields of a ranged PUT.
pub fn ranged_head(request: Request, size: usize, from: usize, to: usize) -> Request {
    request.header("Content-Range", format_args!("bytes {from}-{}/{size}", to.saturating_sub(1)))
}

/// An empty PUT that asks for the offset.
pub fn asking(request: Request, size: usize) -> Request {
    request.header("Content-Range", format_args!("bytes */{size}"))
}

/// The fields of a request of tus.
pub fn tus(request: Request) -> Request {
    request.header("Tus-Resumable", VERSION)
}

/// A PATCH of the bytes `from..to`.
pub fn patch(request: Request, body: &Bytes, from: usize, to: usize) -> Request {
    patch_head(request, from).body(slice(body, from, to))
}

/// The fields of a PATCH.
pub fn patch_head(request: Request, from: usize) -> Request {
    tus(request).header("Content-Type", OFFSET_OCTET_STREAM).header("Upload-Offset", from)
}

/// The session that an answer names, in the form that session ids have.
pub fn session_of(answer: &Answer) -> Result<String, Failure> {
    let id = answer.require("x-session-id")?;
    let is_hex = id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    expect(is_hex, "64 lowercase hex digits in X-Session-ID", format_args!("{} characters", id.len()))?;
    Ok(id.to_owned())
}

/// Nothing of a session in an answer.
pub fn expect_no_session(answer: &Answer) -> CaseResult {
    for name in HOLDERS_FIELDS {
        answer.expect_no_header(name).at(answer.status)?;
    }
    Ok(())
}

/// A problem document with this status, whose type ends in this word.
pub fn expect_problem(answer: &Answer, status: u16, word: &str) -> CaseResult {
    answer.expect_status(status)?;
    answer.expect_problem()?;
    let document = json_of(answer)?;
    let kind = document.get("type").and_then(Value::as_str).unwrap_or_default();
    let last = kind.rsplit([':', '/', '#']).next().unwrap_or_default();
    expect(last == word, format_args!("a problem of type {word}"), kind)
}

/// A refusal of a credential that is wrong: 401 or 403, with no session.
pub fn expect_denied(answer: &Answer) -> CaseResult {
    answer.expect_status_in(&[401, 403])?;
    expect_no_session(answer)
}

/// The document in an answer.
pub fn json_of(answer: &Answer) -> Result<Value, Failure> {
    serde_json::from_slice(&answer.body)
        .map_err(|error| Failure::new("a JSON document", format_args!("{error} in {}", answer.summary())))
}

/// A member that is a count.
pub fn count_in(document: &Value, name: &str) -> Result<u64, Failure> {
    document
        .get(name)
        .and_then(Value::as_u64)
        .ok_or_else(|| Failure::new(format_args!("a number in {name}"), document))
}

/// A member that is a list.
pub fn list_in<'a>(document: &'a Value, name: &str) -> Result<&'a [Value], Failure> {
    let list = document.get(name).and_then(Value::as_array);
    list.map(Vec::as_slice).ok_or_else(|| Failure::new(format_args!("a list in {name}"), document))
}

impl Ctx {
    /// What a case takes for granted and this run does not offer.
    pub fn missing(&self, needs: &[Need]) -> Option<String> {
        self.tus.missing(needs).or_else(|| self.session.missing(needs))
    }

    /// A token of the suite's usual subject for the slot, good for five minutes.
    pub fn live(&self, slot: &Slot) -> Result<String, Failure> {
        slot.claims("application/octet-stream").sign(self.secret()?)
    }

    /// The same token, expired so many seconds ago.
    pub fn expired(&self, slot: &Slot, seconds: i64) -> Result<String, Failure> {
        Claims { lifetime: -seconds, ..slot.claims("application/octet-stream") }.sign(self.secret()?)
    }

    /// A token of another subject.
    pub fn live_of(&self, slot: &Slot, subject: &str) -> Result<String, Failure> {
        Claims { sub: subject.into(), ..slot.claims("application/octet-stream") }.sign(self.secret()?)
    }

    /// A new upload of which the bytes up to `offset` are stored, by a ranged PUT under a good token.
    pub async fn held(&self, size: usize, offset: usize) -> Result<Held, Failure> {
        let (slot, body) = self.file("film.mp4", size)?;
        self.held_by(UPLOADER, slot, body, offset).await
    }

    /// The same at a given slot, under a token of this subject.
    pub async fn held_by(
        &self,
        subject: &'static str,
        slot: Slot,
        body: Bytes,
        offset: usize,
    ) -> Result<Held, Failure> {
        let first = ranged(bare(&slot, "PUT").bearer(&self.live_of(&slot, subject)?), &body, 0, offset);
        let answer = self.send(&first).await?;
        answer.expect_status(308).at("the first range")?;
        let session = session_of(&answer).at("the first range")?;
        let upload = answer.require("x-upload-id").at("the first range")?.to_owned();
        Ok(Held { slot, body, offset, session, upload, subject })
    }

    /// A complete upload under a good token.
    pub async fn held_complete(&self, size: usize) -> Result<Held, Failure> {
        let mut held = self.held(size, size / 2).await?;
        let token = self.live(&held.slot)?;
        let rest = ranged(held.with_session("PUT").bearer(&token), &held.body, held.offset, size);
        self.send(&rest).await?.expect_status(201).at("the last range")?;
        held.offset = size;
        Ok(held)
    }

    /// A request to the session resource, or to something below it.
    pub fn session_request(&self, method: &'static str, below: &str, id: &str) -> Request {
        Request::new(method, format!("{}{below}", self.session.path)).header(SESSION_ID, id)
    }

    /// A fresh token of choice for the session's only incomplete upload.
    pub async fn refresh(&self, id: &str) -> Result<Answer, Failure> {
        self.send(&self.session_request("POST", "/refresh", id)).await
    }

    /// What the session says of itself.
    pub async fn session_document(&self, id: &str) -> Result<Value, Failure> {
        let answer = self.send(&self.session_request("GET", "", id)).await?;
        answer.expect_status(200).at("GET of the session")?;
        json_of(&answer)
    }

    /// Recovers an upload with its session alone, and returns the fresh token.
    pub async fn fresh(&self, held: &Held) -> Result<String, Failure> {
        let answer = self.send(&asking(held.with_session("PUT"), held.body.len())).await?;
        answer.expect_status(308).at("recovery")?;
        Ok(answer.require("x-session-token").at("recovery")?.to_owned())
    }

    /// Sends the rest with what `request` carries, and checks the whole file.
    pub async fn finish_by(&self, held: &Held, request: Request) -> CaseResult {
        let rest = ranged(request, &held.body, held.offset, held.body.len());
        self.send(&rest).await?.expect_status(201).at("the rest")?;
        self.expect_served(&held.slot, &held.body).await?;
        Ok(())
    }

    /// Nothing was written: the upload is where it was, and its own token finishes it.
    pub async fn expect_untouched(&self, held: &Held) -> CaseResult {
        let token = self.live_of(&held.slot, held.subject)?;
        let answer = self.send(&asking(held.bare("PUT").bearer(&token), held.body.len())).await?;
        answer.expect_status(308).at("asking afterwards")?;
        let offset = answer.number("upload-offset")?;
        expect(offset == held.offset as u64, format_args!("the offset {}", held.offset), offset)?;
        self.finish_by(held, held.bare("PUT").bearer(&token)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAN: &[Need] = &[Need::Session(Condition::Ban)];

    #[test]
    fn a_ban_needs_addresses_that_can_be_banned() {
        let mut target = SessionTarget { ban_after: Some(5), ..SessionTarget::default() };
        assert!(target.missing(BAN).is_some());
        target.is_trusted_proxy = true;
        assert_eq!(target.missing(BAN), None);
        assert!(target.missing(&[Need::Session(Condition::UntrustedPeer)]).is_some());
    }

    #[test]
    fn usual_grace_is_tried_only_where_it_is_usual() {
        let usual = [Need::Session(Condition::Grace)];
        assert_eq!(SessionTarget::default().missing(&usual), None);
        for target in [
            SessionTarget { has_grace: false, ..SessionTarget::default() },
            SessionTarget { grace_ceiling: Some(Duration::from_secs(60)), ..SessionTarget::default() },
        ] {
            assert!(target.missing(&usual).is_some());
        }
    }

    #[test]
    fn invented_addresses_stay_in_their_networks_and_differ() {
        let first = strange_v4();
        assert!(first.octets()[0] == 198 && matches!(first.octets()[1], 18 | 19), "{first}");
        let network = strange_v6_network();
        assert_eq!(v6_in(network, 1).segments()[..4], v6_in(network, 2).segments()[..4]);
        assert!(v6_in(network, 1).is_unique_local());
        assert_ne!(network, strange_v6_network());
    }
}
