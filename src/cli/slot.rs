//! A slot of our own: a place to upload one file to, and the token that opens it.

use std::net::SocketAddr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::Failure;
use crate::{
    auth::{Keyring, SlotClaims, mint},
    clock::Timestamp,
    config::{Config, SecretsError, Size},
    id,
};

/// What is to be uploaded.
#[derive(Clone, Debug)]
pub struct SlotRequest {
    /// Name or path of the file; the slot gets its last part.
    pub name: String,
    /// The only size that the token will be good for.
    pub size: Size,
    pub media_type: Option<String>,
    /// The JID, or other name, of the one who may upload.
    pub user: Option<String>,
}

/// Where one file goes, and where it can be had afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// With the token: whoever has it may upload until it expires.
    pub put_url: String,
    pub get_url: String,
}

/// What RFC 3986 section 2.3 leaves as it is in a path segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl SlotRequest {
    /// A slot for `name`. Without a size, the file of that name is measured, and its name gives the media type that is
    /// not said either.
    ///
    /// # Errors
    /// No size, and no such file to take it from.
    pub fn new(
        name: String,
        size: Option<Size>,
        media_type: Option<String>,
        user: Option<String>,
    ) -> Result<Self, Failure> {
        if let Some(size) = size {
            return Ok(Self { name, size, media_type, user });
        }
        let size = measure(&name)?;
        let by_name = || mime_infer::from_path(&name).first_raw().map(str::to_owned);
        Ok(Self { media_type: media_type.or_else(by_name), name, size, user })
    }
}

/// The size of a file.
fn measure(name: &str) -> Result<Size, Failure> {
    let advice = "\n    to do: name a file that exists, or give its size with --size";
    match std::fs::metadata(name) {
        Ok(found) if found.is_file() => Ok(Size::of(found.len())),
        Ok(_) => Err(format!("{name:?} is not a regular file, so it has no size{advice}").into()),
        Err(why) => Err(format!("the size of {name:?} cannot be read: {why}{advice}").into()),
    }
}

impl Slot {
    /// A new slot under the first base path, signed with its first secret. `bound` is the address that the server listens on, for a config without a public URL.
    ///
    /// # Errors
    /// A name without a file name in it, a size above `[store] max_size`, secrets that cannot be had.
    pub fn mint(
        config: &Config,
        bound: SocketAddr,
        request: &SlotRequest,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let filename = file_name(&request.name)?;
        if request.size > config.store.max_size {
            return Err(format!(
                "{} is more than [store] max_size allows ({})\n    to do: raise max_size, or upload less",
                request.size, config.store.max_size
            )
            .into());
        }
        let base = config
            .existing_secrets()?
            .into_iter()
            .next()
            .ok_or_else(|| SecretsError::Empty { path: config.generated_secret_path() })?;
        let keys = Keyring::new(base.secrets.iter().map(|secret| secret.expose().to_vec()).collect())?;
        let slot = id::random_hex_128();
        let token = mint(
            &keys,
            &SlotClaims {
                subject: request.user.clone(),
                slot: slot.clone(),
                filename: filename.to_owned(),
                size: request.size.bytes(),
                content_type: request.media_type.clone(),
                issued_at_ms: now.0,
                expires_at_ms: now.plus(config.slots.token_lifetime.duration()).0,
                retain_until_ms: None,
            },
        )?;
        let get_url = format!(
            "{}{}/{slot}/{}",
            config.public_url(bound),
            base.base_path,
            utf8_percent_encode(filename, SEGMENT)
        );
        Ok(Self { put_url: format!("{get_url}?token={token}"), get_url })
    }
}

fn file_name(path: &str) -> Result<&str, Failure> {
    let name = path.rsplit('/').next().unwrap_or(path);
    if matches!(name, "" | "." | "..") {
        return Err(format!("{path:?} names no file\n    to do: give the name of a file").into());
    }
    if name.chars().any(char::is_control) {
        return Err(format!("{path:?} contains a control character\n    to do: rename the file").into());
    }
    Ok(name)
}

/// A command for a POSIX shell that uploads `file` to `put_url`.
#[must_use]
pub fn curl_upload(file: &str, media_type: Option<&str>, put_url: &str) -> String {
    let type_header = |media_type| format!(" -H {}", shell_word(&format!("Content-Type: {media_type}")));
    let header = media_type.map(type_header).unwrap_or_default();
    format!("curl{} -T {}{header} {}", no_patterns(file), shell_word(&plain_path(file)), shell_word(put_url))
}

/// A command for a POSIX shell that downloads `get_url` beside `file`, under another name.
#[must_use]
pub fn curl_download(file: &str, get_url: &str) -> String {
    let copy = plain_path(&format!("{file}.downloaded"));
    format!("curl{} -o {} {}", no_patterns(file), shell_word(&copy), shell_word(get_url))
}

/// The option that keeps curl from reading a name as a pattern.
fn no_patterns(file: &str) -> &'static str {
    if file.contains(['[', ']', '{', '}']) { " -g" } else { "" }
}

/// The path in a form that curl takes neither for an option nor, as it does `-` and `.`, for standard input.
fn plain_path(path: &str) -> String {
    if path.starts_with('/') || path.starts_with("./") { path.to_owned() } else { format!("./{path}") }
}

fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
