//! A presigned PUT of Amazon S3, as MongooseIM mints it: Signature Version 4 in the query, over an unsigned payload.
//!
//! ```text
//! canonical   PUT LF path LF query LF (name:value LF)* LF signed-headers LF UNSIGNED-PAYLOAD
//! signed      AWS4-HMAC-SHA256 LF date LF day/region/s3/aws4_request LF hex(SHA-256(canonical))
//! key         HMAC(HMAC(HMAC(HMAC("AWS4" secret, day), region), "s3"), "aws4_request")
//! ```
//!
//! The secret access key is one of the ring's secrets. The id of the access key and the region are whatever the other side
//! is set to: the signature covers them.
//!
//! What was signed is always the one PUT of the complete file. A PATCH, a HEAD or a range goes on with that upload, so the
//! method that is verified is PUT and the length the complete one, whatever the request itself is.

use std::{borrow::Cow, time::UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_decode_str, percent_encode};
use sha2::{Digest, Sha256};

use super::{
    Carrier, Denied, Grant, Key, Keyring, LONGEST_CREDENTIAL, Presented, Rules, Scheme, decimal,
    last_segment, malformed_query, slot_token,
};
use crate::id;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The parameter that makes a query a presigned one, and the one that it does not sign.
const SIGNATURE: &str = "X-Amz-Signature";

/// A week in seconds: the longest that S3 lets a presigned URL live.
const LONGEST_LIFE: u64 = 604_800;

/// How far the clock of whoever signs may be ahead of ours, in milliseconds.
const SKEW_MS: i64 = 300_000;

/// More signed headers than any client sends.
const MOST_HEADERS: usize = 32;

/// What S3 leaves as it is in a query; all else is %XX in capitals.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// And in a path.
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// Whether a query holds a presigned URL's signature.
pub(super) fn is_presented(query: &str) -> bool {
    query.split('&').any(|pair| pair.split('=').next() == Some(SIGNATURE))
}

/// Judges everything but the expiry.
pub(super) fn judge(
    keys: &Keyring,
    rules: &Rules,
    presented: &Presented<'_>,
    now_ms: i64,
) -> Result<Grant, Denied> {
    let query = presented.query.unwrap_or_default();
    if query.len() > LONGEST_CREDENTIAL {
        return Err(malformed_query("the presigned query is too long"));
    }
    let pairs = decoded(query);
    let signed = Signed::read(&pairs, rules)?;
    // [AUT-63] the length is one of the signed headers
    let length = presented.length.ok_or(Denied::LengthRequired)?;
    let name = presented.name(Carrier::Query)?;
    let Covered { content_type, fits_two_names } =
        signed.covers(keys, presented, &pairs, length).ok_or_else(|| signed.mismatch())?;
    // [AUT-121] the length in the query is signed with the rest of it
    if let Some(size) = signed.size.filter(|size| *size != length) {
        return Err(Denied::WrongSize { signed: size, claimed: length });
    }
    let content_type = content_type.or_else(|| signed.content_type.map(str::to_owned));
    // [AUT-67]
    if signed.date_ms.saturating_sub(SKEW_MS) > now_ms {
        return Err(Denied::NotYetValid { from_ms: signed.date_ms });
    }
    Ok(Grant {
        size: Some(length),
        filename: Some(last_segment(&name)).filter(|name| !name.is_empty()).map(str::to_owned),
        content_type,
        issued_at_ms: Some(signed.date_ms),
        expires_at_ms: Some(signed.expires_at_ms),
        fingerprint: fits_two_names.then(|| id::hex(&Sha256::digest(signed.signature))),
        ..Grant::of(Scheme::SigV4)
    })
}

/// A name and a value of the query, percent-decoded once; `+` stays a plus.
type Pair = (Vec<u8>, Vec<u8>);

fn decoded(query: &str) -> Vec<Pair> {
    let decode = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// What a presigned query says of itself.
struct Signed<'a> {
    /// `yyyymmddThhmmssZ`.
    date: &'a str,
    date_ms: i64,
    expires_at_ms: i64,
    /// `yyyymmdd`.
    day: &'a str,
    region: &'a str,
    /// `yyyymmdd/region/s3/aws4_request`.
    scope: &'a str,
    /// Names of headers, ascending.
    headers: Vec<&'a str>,
    /// `Content-Length` and `Content-Type` of the query, where the configuration takes them from there.
    size: Option<u64>,
    content_type: Option<&'a str>,
    signature: [u8; 32],
}

/// What a signature that fits a request says of it.
struct Covered {
    /// The signed content type; `None` when it is empty, or no signed header.
    content_type: Option<String>,
    /// Whether the signed path is that of two names: one encoded once, the other one twice.
    fits_two_names: bool,
}

impl<'a> Signed<'a> {
    /// By its form alone; everything it says may be a lie.
    fn read(pairs: &'a [Pair], rules: &Rules) -> Result<Self, Denied> {
        if parameter(pairs, "X-Amz-Algorithm")? != ALGORITHM {
            return Err(malformed_query("X-Amz-Algorithm is not AWS4-HMAC-SHA256"));
        }
        let date = parameter(pairs, "X-Amz-Date")?;
        let date_ms = epoch_ms(date).ok_or(malformed_query("X-Amz-Date is not a time"))?;
        // [AUT-61]
        let life = decimal(parameter(pairs, "X-Amz-Expires")?)
            .filter(|seconds| (1..=LONGEST_LIFE).contains(seconds))
            .and_then(|seconds| i64::try_from(seconds).ok())
            .ok_or(malformed_query("X-Amz-Expires is not a number of seconds from 1 to 604800"))?;
        // [AUT-62]
        let (scope, day, region) = scope(parameter(pairs, "X-Amz-Credential")?)
            .ok_or(malformed_query("X-Amz-Credential is not id/day/region/s3/aws4_request"))?;
        if !date.starts_with(day) {
            return Err(malformed_query("X-Amz-Credential is of another day than X-Amz-Date"));
        }
        let headers: Vec<&str> = parameter(pairs, "X-Amz-SignedHeaders")?.split(';').collect();
        if headers.len() > MOST_HEADERS || !headers.iter().all(|name| is_header(name)) {
            return Err(malformed_query("X-Amz-SignedHeaders is not a list of names in small letters"));
        }
        if !headers.is_sorted_by(|a, b| a < b) {
            return Err(malformed_query("X-Amz-SignedHeaders is not sorted"));
        }
        // [AUT-121] a signer may put into the query what others sign as headers
        let in_query = |name| match rules.presigned_headers_in_query && is_in(pairs, name) {
            true => parameter(pairs, name).map(Some),
            false => Ok(None),
        };
        let size = match in_query("Content-Length")? {
            Some(text) => Some(decimal(text).ok_or(malformed_query("Content-Length is not a number"))?),
            None => None,
        };
        let content_type = in_query("Content-Type")?;
        // [AUT-63] a token that covers no size is none
        if !headers.contains(&"host") || (!headers.contains(&"content-length") && size.is_none()) {
            return Err(malformed_query("X-Amz-SignedHeaders names not both content-length and host"));
        }
        let signature = slot_token::from_lowercase_hex(parameter(pairs, SIGNATURE)?)
            .ok_or(malformed_query("X-Amz-Signature is not 64 lowercase hex digits"))?;
        let expires_at_ms = date_ms.saturating_add(life * 1000);
        Ok(Self { date, date_ms, expires_at_ms, day, region, scope, headers, size, content_type, signature })
    }

    /// What the signature covers, when it is that of one of the forms that the request may have had when it was signed.
    fn covers(
        &self,
        keys: &Keyring,
        presented: &Presented<'_>,
        pairs: &[Pair],
        length: u64,
    ) -> Option<Covered> {
        let signing: Vec<_> = keys.iter().map(|key| self.signing_key(key)).collect();
        let query = canonical_query(pairs);
        let others = self.others(presented, length)?;
        // [AUT-65]
        let types = match self.headers.contains(&"content-type") {
            true => slot_token::candidates(presented),
            false => vec![Cow::Borrowed("")],
        };
        for Path { text: path, fits_two_names } in paths(presented.raw_path) {
            for host in presented.hosts.iter().copied().filter_map(trimmed) {
                for content_type in &types {
                    let Some(typed) = trimmed(content_type) else { continue };
                    let canonical = self.canonical(&path, &query, |name| match name {
                        "host" => &host,
                        "content-type" => &typed,
                        other => {
                            others.iter().find(|(name, _)| *name == other).map_or("", |(_, value)| value)
                        }
                    });
                    if self.matches(&signing, &canonical) {
                        let content_type = Some(content_type.to_string()).filter(|named| !named.is_empty());
                        return Some(Covered { content_type, fits_two_names });
                    }
                }
            }
        }
        None
    }

    fn mismatch(&self) -> Denied {
        match self.headers.contains(&"content-type") {
            true => Denied::BadSignatureOrType { carrier: Carrier::Query },
            false => Denied::BadSignature { carrier: Carrier::Query },
        }
    }

    /// The values of the signed headers that have one form only; `None` when the request lacks one, or it holds what no
    /// header can.
    fn others(&self, presented: &Presented<'_>, length: u64) -> Option<Vec<(&'a str, String)>> {
        let others = self.headers.iter().filter(|name| !matches!(**name, "host" | "content-type"));
        others
            .map(|name| match *name {
                "content-length" => Some((*name, length.to_string())),
                // [AUT-66]
                other => Some((*name, trimmed(&(presented.header)(other)?)?)),
            })
            .collect()
    }

    fn canonical<'v>(&self, path: &str, query: &str, value: impl Fn(&str) -> &'v str) -> String {
        // [AUT-60] PUT, whatever the request's own method is
        let mut canonical = format!("PUT\n{path}\n{query}\n");
        for name in &self.headers {
            canonical.extend([name, ":", value(name), "\n"]);
        }
        canonical.extend(["\n", &self.headers.join(";"), "\nUNSIGNED-PAYLOAD"]);
        canonical
    }

    fn signing_key(&self, key: &Key) -> Hmac<Sha256> {
        let first = step(key.aws4.clone(), self.day);
        [self.region, "s3", "aws4_request"].into_iter().fold(first, step)
    }

    /// [AUT-8], [AUT-9]
    fn matches(&self, signing: &[Hmac<Sha256>], canonical: &str) -> bool {
        let hash = id::hex(&Sha256::digest(canonical));
        let text = format!("{ALGORITHM}\n{}\n{}\n{hash}", self.date, self.scope);
        signing.iter().any(|key| key.clone().chain_update(&text).verify_slice(&self.signature).is_ok())
    }
}

/// The MAC of `text`, as the key of the next MAC. A key of 32 bytes is as good as any other length.
fn step(mac: Hmac<Sha256>, text: &str) -> Hmac<Sha256> {
    let tag = mac.chain_update(text).finalize().into_bytes();
    let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
    for (to, from) in block.iter_mut().zip(tag) {
        *to = from;
    }
    Hmac::new(&block)
}

/// A path as it may have been signed.
struct Path {
    text: String,
    /// See [`Covered::fits_two_names`].
    fits_two_names: bool,
}

/// [AUT-64] The canonical forms of a path: as it was sent, and decoded once and encoded again by the rule of S3, since not
/// every client sends it as it was signed.
///
/// [AUT-120] And encoded twice, where that is another form: MongooseIM encodes the path that it has encoded already. The
/// form of one name encoded twice is that of another one, which holds a `%`, encoded once; a signature over it is bound
/// to the first of the two that it is used for.
fn paths(raw: &str) -> Vec<Path> {
    let encode = |text: &[u8]| percent_encode(text, PATH).to_string();
    let once = encode(&percent_decode(raw.as_bytes()).collect::<Vec<u8>>());
    let twice = [encode(once.as_bytes()), encode(raw.as_bytes())];
    let sent = Some(raw.to_owned()).filter(|sent| !sent.chars().any(char::is_control));
    let mut paths: Vec<Path> = Vec::new();
    let is_encoded = raw.contains('%');
    let forms = [once].into_iter().chain(sent).map(|text| (text.contains("%25"), text));
    for (fits_two_names, text) in
        forms.chain(twice.into_iter().filter(|_| is_encoded).map(|text| (true, text)))
    {
        if !paths.iter().any(|path| path.text == text) {
            paths.push(Path { text, fits_two_names });
        }
    }
    paths
}

/// [AUT-64] Every parameter, encoded and then sorted, but the signature itself and our own `session_id`, which a client adds to a
/// URL that was signed without it.
fn canonical_query(pairs: &[Pair]) -> String {
    let signed = pairs.iter().filter(|(name, _)| name != SIGNATURE.as_bytes() && name != b"session_id");
    let mut encoded: Vec<_> = signed
        .map(|(name, value)| {
            (percent_encode(name, QUERY).to_string(), percent_encode(value, QUERY).to_string())
        })
        .collect();
    encoded.sort();
    encoded.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Whether a parameter is there.
fn is_in(pairs: &[Pair], name: &str) -> bool {
    pairs.iter().any(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()))
}

/// The one value of a parameter, as text.
fn parameter<'a>(pairs: &'a [Pair], name: &str) -> Result<&'a str, Denied> {
    let mut values = pairs.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()));
    let Some((_, value)) = values.next() else {
        return Err(malformed_query("a signed parameter is missing"));
    };
    // [AUT-3] of two values neither is the one
    if values.next().is_some() {
        return Err(malformed_query("a signed parameter is repeated"));
    }
    std::str::from_utf8(value).map_err(|_| malformed_query("a signed parameter is not UTF-8"))
}

/// `id/day/region/s3/aws4_request` as scope, day and region. The id may hold slashes, the region neither slashes nor what
/// would end a line of the signed text.
fn scope(credential: &str) -> Option<(&str, &str, &str)> {
    let rest = credential.strip_suffix("/s3/aws4_request")?;
    let (rest, region) = rest.rsplit_once('/')?;
    let (id, day) = rest.rsplit_once('/')?;
    let is_plain = !region.is_empty() && region.bytes().all(|byte| byte.is_ascii_graphic());
    let is_day = day.len() == 8 && day.bytes().all(|byte| byte.is_ascii_digit());
    let scope = credential.strip_prefix(id)?.strip_prefix('/')?;
    (!id.is_empty() && is_plain && is_day).then_some((scope, day, region))
}

/// `yyyymmddThhmmssZ` as milliseconds since the Unix epoch.
fn epoch_ms(date: &str) -> Option<i64> {
    let (day, time) = date.strip_suffix('Z')?.split_once('T')?;
    let is_digits = |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(day, 8) || !is_digits(time, 6) {
        return None;
    }
    let (year, day) = day.split_at_checked(4)?;
    let (month, day) = day.split_at_checked(2)?;
    let (hour, rest) = time.split_at_checked(2)?;
    let (minute, second) = rest.split_at_checked(2)?;
    let moment = humantime::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")).ok()?;
    i64::try_from(moment.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// A header's name as it is signed.
fn is_header(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    !name.is_empty() && name.bytes().all(is_letter)
}

/// A header's value as it is signed: without blanks at its ends, and one for many within. `None` when it holds a control
/// character: a line of its own would read as another header.
fn trimmed(value: &str) -> Option<String> {
    let is_text = !value.chars().any(|c| c.is_control() && c != '\t');
    let words = value.split([' ', '\t']).filter(|word| !word.is_empty());
    is_text.then(|| words.collect::<Vec<_>>().join(" "))
}
