//! What a phone sends: a file, the slot for it with a token that soon expires, and the requests of each dialect.

use std::{
    io,
    time::{Duration, SystemTime},
};

use crate::{
    common::{http::Answer, slots},
    line::Line,
};

/// How bytes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The whole file by a plain PUT: how an upload may begin.
    Plain,
    /// PUT with Content-Range.
    Ranged,
    /// PATCH with Upload-Offset on the slot's URL.
    Tus,
}

/// How the offset is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// PUT with `bytes */S`.
    Status,
    /// HEAD.
    Head,
    /// HEAD with Tus-Resumable.
    TusHead,
}

/// How far the server says that the upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    At(u64),
    Complete,
    /// 423, 429 or 503: ask again later.
    Wait,
    /// 401: what was shown suffices no longer.
    Denied,
}

/// A file and the slot for it.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    /// The path of the slot's URL.
    pub(crate) path: String,
    pub(crate) data: &'static [u8],
    pub(crate) token: String,
    name: String,
    ends: SystemTime,
}

impl Upload {
    /// A slot whose token ends in `lifetime`, at most a second later: its times are whole seconds.
    pub(crate) fn new(name: &str, data: &'static [u8], lifetime: Duration) -> Self {
        let path = format!("/upload/{name}/file.bin");
        let ends = SystemTime::UNIX_EPOCH;
        let mut upload = Self { path, data, token: String::new(), name: name.to_owned(), ends };
        upload.mint(lifetime);
        upload
    }

    /// A new token for the same slot.
    pub(crate) fn mint(&mut self, lifetime: Duration) {
        let since_epoch = now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let issued = since_epoch.as_secs();
        let expires = (since_epoch + lifetime).as_secs() + 1;
        self.ends = SystemTime::UNIX_EPOCH + Duration::from_secs(expires);
        self.token = slots::jwt(&format!(
            r#"{{"sub":"{name}@example.org","iat":{issued},"exp":{expires},"slot":"{name}","filename":"file.bin","filesize":{size},"filetype":"application/octet-stream"}}"#,
            name = self.name,
            size = self.size(),
        ));
    }

    pub(crate) fn size(&self) -> u64 {
        self.data.len() as u64
    }

    pub(crate) fn part(&self, from: u64, end: u64) -> &'static [u8] {
        &self.data[from as usize..end as usize]
    }

    /// Whether the server, whose clock is ours, takes the token for expired.
    pub(crate) fn has_expired(&self) -> bool {
        now() >= self.ends
    }

    /// Ask how far the server is. The answer comes with its headers, for the session.
    pub(crate) async fn ask(
        &self,
        line: &mut Line,
        question: Question,
        shown: &[(&'static str, String)],
    ) -> io::Result<(Standing, Answer)> {
        let mut headers = shown.to_vec();
        let method = match question {
            Question::Status => {
                headers.push(("Content-Range", format!("bytes */{}", self.size())));
                headers.push(("Content-Length", "0".to_owned()));
                "PUT"
            }
            Question::Head => "HEAD",
            Question::TusHead => {
                headers.push(("Tus-Resumable", "1.0.0".to_owned()));
                "HEAD"
            }
        };
        line.head(method, &self.path, &headers).await?;
        let answer = line.any_answer(question != Question::Status).await?;
        let offset = answer.offset();
        let standing = match (question, answer.status) {
            (_, 423 | 429 | 503) => Standing::Wait,
            (_, 401) => Standing::Denied,
            (Question::Status, 308) => Standing::At(offset.unwrap_or_default()),
            (Question::Status, 201) | (Question::Head, 200) => Standing::Complete,
            (Question::Head, 204) => Standing::At(offset.expect("the offset of an incomplete upload")),
            (Question::Head, 404) => Standing::At(0),
            (Question::TusHead, 200) => match offset.expect("tus tells the offset") {
                all if all == self.size() => Standing::Complete,
                part => Standing::At(part),
            },
            _ => panic!("{}: {question:?} was answered {answer:?}", self.path),
        };
        Ok((standing, answer))
    }

    /// The head of a request that sends the bytes from `from` up to `end`, which is excluded.
    pub(crate) async fn begin(
        &self,
        line: &mut Line,
        dialect: Dialect,
        (from, end): (u64, u64),
        shown: &[(&'static str, String)],
    ) -> io::Result<()> {
        let mut headers = shown.to_vec();
        headers.push(("Content-Length", (end - from).to_string()));
        let method = match dialect {
            Dialect::Plain => {
                assert_eq!((from, end), (0, self.size()), "a plain PUT is of the whole file");
                "PUT"
            }
            Dialect::Ranged => {
                headers.push(("Content-Range", format!("bytes {from}-{}/{}", end - 1, self.size())));
                "PUT"
            }
            Dialect::Tus => {
                headers.push(("Tus-Resumable", "1.0.0".to_owned()));
                headers.push(("Content-Type", "application/offset+octet-stream".to_owned()));
                headers.push(("Upload-Offset", from.to_string()));
                "PATCH"
            }
        };
        line.head(method, &self.path, &headers).await
    }

    /// What the answer to a request that sent up to `end` says: an offset that is safe, or the end.
    /// `None` when another writer came first, or the server asks to wait.
    pub(crate) fn judge(&self, dialect: Dialect, end: u64, answer: &Answer) -> Option<Standing> {
        let is_whole = end == self.size();
        match (dialect, answer.status) {
            (Dialect::Plain | Dialect::Ranged, 201) if is_whole => Some(Standing::Complete),
            (Dialect::Ranged, 308) if !is_whole => Some(Standing::At(answer.offset()?)),
            (Dialect::Tus, 204) => match answer.offset()? {
                all if all == self.size() => Some(Standing::Complete),
                part => Some(Standing::At(part)),
            },
            (_, 409 | 416 | 423 | 429 | 503) => None,
            _ => panic!("{}: {dialect:?} was answered {answer:?}", self.path),
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the server under test has the machine's clock, and so have phones"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

/// The headers that show a token.
pub(crate) fn bearer(token: &str) -> (&'static str, String) {
    ("Authorization", format!("Bearer {token}"))
}

/// The header that names a session.
pub(crate) fn session_id(id: &str) -> (&'static str, String) {
    ("X-Session-ID", id.to_owned())
}
