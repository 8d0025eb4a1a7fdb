//! Answers, and the problem documents (RFC 9457) that say what went wrong.

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use salvo::http::{ResBody, Response};
use serde_json::{Map, Value, json};

use crate::{
    fault::{Component, Fault},
    upload::Offset,
};

/// `Upload-Offset`, of tus and of the IETF draft.
pub const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
/// `Upload-Length`, of tus and of the IETF draft.
pub const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");
/// `Upload-Complete`, of the IETF draft: a structured-field boolean.
pub const UPLOAD_COMPLETE: HeaderName = HeaderName::from_static("upload-complete");

/// The body of an answer.
pub enum Content {
    /// None, with `Content-Length: 0`.
    Empty,
    /// All of it.
    Whole(Bytes),
    /// Pieces; the headers already say how long it is.
    Stream(BoxStream<'static, Result<Bytes, Fault>>),
}

/// An answer in the making.
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub content: Content,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Whole(_) => "Whole",
            Self::Stream(_) => "Stream",
        })
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

impl Reply {
    /// An answer without a body.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), content: Content::Empty }
    }

    /// Add a header. A value that cannot stand in a header is left out: ours are all made of digits and words.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: impl ToString) -> Self {
        if let Ok(value) = HeaderValue::from_str(&value.to_string()) {
            self.headers.insert(name, value);
        }
        self
    }

    /// Add `Upload-Offset` where it is known.
    #[must_use]
    pub fn offset(self, offset: Option<Offset>) -> Self {
        match offset {
            Some(offset) => self.with(UPLOAD_OFFSET, offset),
            None => self,
        }
    }

    /// Say that nobody may keep this answer.
    #[must_use]
    pub fn no_store(self) -> Self {
        self.with(header::CACHE_CONTROL, "no-store")
    }

    /// A JSON body.
    #[must_use]
    pub fn json(mut self, value: &Value) -> Self {
        self.content = Content::Whole(Bytes::from(value.to_string()));
        self.with(header::CONTENT_TYPE, "application/json")
    }

    /// A problem document: `word` names the kind of problem for programs, `detail` explains it to people.
    #[must_use]
    pub fn problem(status: StatusCode, word: &str, detail: &str) -> Self {
        Self::problem_with(status, word, detail, Map::new())
    }

    /// A problem document with further members.
    #[must_use]
    pub fn problem_with(status: StatusCode, word: &str, detail: &str, more: Map<String, Value>) -> Self {
        let mut document = json!({
            "type": format!("urn:plimsoll:problem:{word}"),
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "detail": detail,
        });
        if let Some(members) = document.as_object_mut() {
            members.extend(more);
        }
        let mut reply = Self::new(status).json(&document).no_store();
        reply.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        reply
    }

    /// Our fault: logged by whoever saw it, told to the client without its inner text.
    #[must_use]
    pub fn fault(fault: &Fault) -> Self {
        let status = match fault.component {
            Component::Ledger | Component::Blobs | Component::Leases if fault.full => {
                StatusCode::INSUFFICIENT_STORAGE
            }
            // What they hold is elsewhere and will be back. [ENG-43] A ledger that takes no changes opens its file anew.
            Component::Sessions | Component::Abuse | Component::Ledger => StatusCode::SERVICE_UNAVAILABLE,
            Component::Blobs | Component::Leases => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if fault.lost {
            // [ENG-66] not "what it acknowledged is safe"
            let detail = "Bytes of this upload are missing in the server's storage. Trying again does not help until \
                          its operator has restored them; uploading the file anew does.";
            return Self::problem(status, "lost", detail);
        }
        let reply = if status == StatusCode::INSUFFICIENT_STORAGE {
            // [ENG-64] in every dialect, whichever write met the end of the disk
            Self::problem(status, "storage-full", "The server's disk is full. Try again later.")
        } else {
            Self::problem(status, "fault", "The server failed to carry out the request. Try again.")
        };
        match status {
            StatusCode::SERVICE_UNAVAILABLE => reply.with(header::RETRY_AFTER, 2),
            // Room comes back when files are removed, which takes somebody a while.
            StatusCode::INSUFFICIENT_STORAGE => reply.with(header::RETRY_AFTER, 60),
            _ => reply,
        }
    }

    /// Write it into salvo's response.
    pub fn write(self, response: &mut Response) {
        response.status_code(self.status);
        response.headers_mut().extend(self.headers);
        match self.content {
            Content::Empty => {}
            Content::Whole(bytes) => {
                response.replace_body(ResBody::Once(bytes));
            }
            Content::Stream(pieces) => {
                response.replace_body(ResBody::stream(pieces));
            }
        }
    }
}
