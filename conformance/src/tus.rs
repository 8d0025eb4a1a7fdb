//! What the suite knows of a target as a tus server, and the uploads that it creates there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use crate::case::{CaseResult, Failure, Need, Step as _, expect, expect_bytes, expect_eq};
use crate::ctx::{Ctx, noise, unique};
use crate::http::{Answer, Request, Wire};

/// The version that the suite speaks.
pub const VERSION: &str = "1.0.0";
/// The media type of a PATCH.
pub const OFFSET_OCTET_STREAM: &str = "application/offset+octet-stream";

/// Where a credential for creations comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issuer {
    /// The suite, from the shared secret.
    Suite,
    /// The command line.
    User,
}

/// The target's tus side: what the command line says of it, and what it announces itself.
#[derive(Debug, Clone, Default)]
pub struct TusTarget {
    /// Path of the creation URL.
    pub path: String,
    /// Bearer token for creations.
    pub grant: Option<(String, Issuer)>,
    /// Whether every request carries the grant, not creations alone.
    pub grant_for_all: bool,
    /// How many uploads a stranger may create in a minute.
    pub creations_per_minute: Option<u32>,
    /// How long an unfinished upload is kept.
    pub expires: Option<Duration>,
    /// Whether every need counts as met.
    pub takes_all_for_granted: bool,
    /// The answer to OPTIONS.
    pub announced: Announcement,
    pub(crate) serves: Arc<OnceCell<bool>>,
}

/// What OPTIONS tells, leniently read: whether it is well-formed is for cases to say.
#[derive(Debug, Clone, Default)]
pub struct Announcement {
    /// Members of Tus-Extension.
    pub extensions: Vec<String>,
    /// Members of Tus-Checksum-Algorithm.
    pub algorithms: Vec<String>,
    /// Tus-Max-Size in bytes.
    pub max_size: Option<u64>,
}

impl TusTarget {
    /// What the target would have to announce for these needs, if anything.
    pub fn missing(&self, needs: &[Need]) -> Option<String> {
        needs.iter().find_map(|need| self.lacks(*need))
    }

    fn lacks(&self, need: Need) -> Option<String> {
        let (is_met, missing) = match need {
            Need::Extension(name) => {
                let is_met = self.takes_all_for_granted || self.announces(name);
                return (!is_met).then(|| format!("Tus-Extension lacks {name}"));
            }
            Need::MaxSize => {
                (self.takes_all_for_granted || self.announced.max_size.is_some(), "there is no Tus-Max-Size")
            }
            Need::OpenCreation => (self.creations_per_minute.is_some(), "no --creations-per-minute"),
            Need::GrantedCreation => (
                self.creations_per_minute.is_none()
                    && self.grant.as_ref().is_some_and(|(_, issuer)| *issuer == Issuer::Suite),
                "no grant of the suite's own",
            ),
            Need::GrantedAccess => (self.grant_for_all, "no --tus-access grant"),
            Need::ShortExpiry => (self.expires.is_some(), "no --expires"),
            // Not for this side to say.
            Need::Session(_) => return None,
        };
        (!is_met).then(|| missing.to_owned())
    }

    /// Whether Tus-Extension names it.
    pub fn announces(&self, extension: &str) -> bool {
        self.announced.extensions.iter().any(|known| known == extension)
    }
}

/// An upload at the target.
#[derive(Debug, Clone)]
pub struct Resource {
    /// Request target of the upload.
    pub url: String,
    /// Location as it came, or `url` for an upload that was not created by POST.
    pub location: String,
    bearer: Option<String>,
    /// What it was created with: DELETE shows it, as clients do that send their header fields with every request.
    grant: Option<String>,
}

impl Resource {
    /// An upload that is known by its URL.
    pub fn at(url: impl Into<String>) -> Self {
        let url = url.into();
        Self { location: url.clone(), url, bearer: None, grant: None }
    }

    /// A request that says nothing of tus.
    pub fn plain(&self, method: &'static str) -> Request {
        let request = Request::new(method, self.url.clone());
        let shown = if method == "DELETE" { self.grant.as_ref() } else { None };
        match self.bearer.as_ref().or(shown) {
            Some(token) => request.bearer(token),
            None => request,
        }
    }

    /// A request of a tus client.
    pub fn request(&self, method: &'static str) -> Request {
        self.plain(method).header("Tus-Resumable", VERSION)
    }

    /// HEAD.
    pub fn head(&self) -> Request {
        self.request("HEAD")
    }

    /// PATCH at an offset, without a body yet.
    pub fn patch_at(&self, offset: usize) -> Request {
        self.request("PATCH").header("Content-Type", OFFSET_OCTET_STREAM).header("Upload-Offset", offset)
    }

    /// PATCH with the bytes `from..to` of `body`.
    pub fn patch(&self, body: &Bytes, from: usize, to: usize) -> Request {
        self.patch_at(from).body(slice(body, from, to))
    }
}

/// The bytes `from..to`, as far as there are any.
pub fn slice(body: &Bytes, from: usize, to: usize) -> Bytes {
    Bytes::copy_from_slice(body.get(from..to).unwrap_or_default())
}

impl Ctx {
    /// Asks the target what it can do. An answer that says nothing is an empty announcement.
    pub async fn announcement(&self) -> Result<Announcement, Failure> {
        let answer = self.send(&self.options()).await.at("OPTIONS")?;
        Ok(Announcement {
            extensions: answer.list("tus-extension"),
            algorithms: answer.list("tus-checksum-algorithm"),
            max_size: answer.header("tus-max-size").and_then(|value| value.parse().ok()),
        })
    }

    /// OPTIONS at the creation URL.
    pub fn options(&self) -> Request {
        Request::new("OPTIONS", self.tus.path.clone())
    }

    /// POST at the creation URL, with the credential and nothing else.
    pub fn bare_post(&self) -> Request {
        let request = Request::new("POST", self.tus.path.clone());
        match &self.tus.grant {
            Some((token, _)) => request.bearer(token),
            None => request,
        }
    }

    /// A creation of a tus client that says nothing of its length yet.
    pub fn post(&self) -> Request {
        self.bare_post().header("Tus-Resumable", VERSION)
    }

    /// A creation of this many bytes.
    pub fn creation(&self, length: usize) -> Request {
        self.post().header("Upload-Length", length)
    }

    /// The upload that an answer of 201 names.
    pub fn resource(&self, answer: &Answer) -> Result<Resource, Failure> {
        answer.expect_status(201).at("creation")?;
        let location = answer.require("location")?;
        let grant = self.tus.grant.as_ref().map(|(token, _)| token.clone());
        let bearer = grant.clone().filter(|_| self.tus.grant_for_all);
        Ok(Resource { url: resolve(&self.tus.path, location)?, location: location.to_owned(), bearer, grant })
    }

    /// Creates what the request asks for.
    pub async fn create(&self, request: &Request) -> Result<Resource, Failure> {
        self.resource(&self.send(request).await?)
    }

    /// A new upload of `size` bytes, and noise to fill it.
    pub async fn tus_file(&self, size: usize) -> Result<(Resource, Bytes), Failure> {
        let resource = self.create(&self.creation(size)).await?;
        let body = noise(&resource.url, size);
        Ok((resource, body))
    }

    /// A new upload of which the bytes up to `offset` have been stored by one PATCH.
    pub async fn tus_begun(&self, size: usize, offset: usize) -> Result<(Resource, Bytes), Failure> {
        let (resource, body) = self.tus_file(size).await?;
        self.expect_patched(&resource.patch(&body, 0, offset), offset).await.at("the first PATCH")?;
        Ok((resource, body))
    }

    /// A URL like those that the target gives away, of an upload that does not exist.
    pub async fn unknown(&self) -> Result<Resource, Failure> {
        let known = self.create(&self.creation(1)).await?;
        let id = unique().replace('-', "");
        let trimmed = known.url.trim_end_matches('/');
        let parent = trimmed.rfind('/').and_then(|at| trimmed.get(..=at)).unwrap_or("/");
        let closing = known.url.get(trimmed.len()..).unwrap_or_default();
        let url = format!("{parent}{id}{closing}");
        Ok(Resource { location: url.clone(), url, ..known })
    }

    /// The PATCH is answered 204 and its new offset.
    pub async fn expect_patched(&self, request: &Request, offset: usize) -> Result<Answer, Failure> {
        let answer = self.send(request).await?;
        answer.expect_status(204).at("PATCH")?;
        expect_eq("Upload-Offset", &(offset as u64), &answer.number("upload-offset")?).at("PATCH")?;
        Ok(answer)
    }

    /// A HEAD that succeeds.
    pub async fn tus_head(&self, resource: &Resource) -> Result<Answer, Failure> {
        let answer = self.send(&resource.head()).await?;
        answer.expect_status_in(&[200, 204]).at("HEAD")?;
        Ok(answer)
    }

    /// The offset that HEAD tells.
    pub async fn tus_offset(&self, resource: &Resource) -> Result<u64, Failure> {
        self.tus_head(resource).await?.number("upload-offset").at("HEAD")
    }

    /// HEAD tells this offset now.
    pub async fn expect_tus_offset(&self, resource: &Resource, offset: usize) -> CaseResult {
        expect_eq("Upload-Offset", &(offset as u64), &self.tus_offset(resource).await?).at("HEAD")
    }

    /// HEAD comes to tell this offset: how long a target takes to notice a cut is its own affair, up to 5 s.
    pub async fn await_tus_offset(&self, resource: &Resource, offset: usize) -> CaseResult {
        let start = Instant::now();
        loop {
            let seen = self.expect_tus_offset(resource, offset).await;
            if seen.is_ok() || start.elapsed() > Duration::from_secs(5) {
                return seen;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Sends the rest from `offset`, and checks that the whole file arrived.
    pub async fn tus_finish(&self, resource: &Resource, body: &Bytes, offset: usize) -> CaseResult {
        self.expect_patched(&resource.patch(body, offset, body.len()), body.len()).await.at("the rest")?;
        self.expect_tus_content(resource, body).await
    }

    /// HEAD tells that all has arrived, and the download, where the target has one at all, is byte-identical.
    pub async fn expect_tus_content(&self, resource: &Resource, body: &[u8]) -> CaseResult {
        self.expect_tus_offset(resource, body.len()).await?;
        if !self.serves().await? {
            return Ok(());
        }
        let answer = self.send(&resource.plain("GET")).await?;
        answer.expect_status(200).at("GET")?;
        expect_bytes("the download", body, &answer.body)
    }

    /// Whether the target serves complete uploads at their URL: tus does not ask for it.
    async fn serves(&self) -> Result<bool, Failure> {
        let probe = async || {
            let (resource, body) = self.tus_file(10).await?;
            self.expect_patched(&resource.patch(&body, 0, 10), 10).await?;
            Ok(self.send(&resource.plain("GET")).await?.status == 200)
        };
        self.tus.serves.get_or_try_init(probe).await.copied()
    }

    /// The upload is gone, or was never there: 404 or 410, and no offset.
    pub async fn expect_gone(&self, resource: &Resource) -> CaseResult {
        let answer = self.send(&resource.head()).await?;
        answer.expect_status_in(&[404, 410])?.expect_no_header("upload-offset").at("HEAD of what is gone")?;
        Ok(())
    }

    /// A request whose body stops after `sent`, with the connection left open. The pause is long enough for the target
    /// to have read it.
    pub async fn stalled(&self, head: &Request, sent: &[u8]) -> Result<Wire, Failure> {
        let mut wire = self.connect().await?;
        wire.send_head(head).await?;
        wire.send(sent).await?;
        sleep(Duration::from_millis(300)).await;
        Ok(wire)
    }
}

/// A creation that was refused: 4xx, and no Location.
pub fn expect_not_created(answer: &Answer) -> CaseResult {
    answer.expect_refused()?.expect_no_header("location")?;
    Ok(())
}

/// The path and query of a Location, which may be relative to the URL it was created at (RFC 3986 section 5).
pub(crate) fn resolve(base: &str, location: &str) -> Result<String, Failure> {
    let wrong = || Failure::new("a URL in Location", location);
    if location.starts_with("//") || location.contains("://") {
        let absolute =
            if location.starts_with("//") { format!("http:{location}") } else { location.to_owned() };
        let uri: Uri = absolute.parse().map_err(|_| wrong())?;
        let path = uri.path_and_query().ok_or_else(wrong)?.as_str();
        return Ok(path.to_owned());
    }
    let path = if location.starts_with('/') {
        location.to_owned()
    } else {
        let folder = base.rfind('/').and_then(|at| base.get(..=at)).unwrap_or("/");
        format!("{folder}{}", location.trim_start_matches("./"))
    };
    let is_target = path.parse::<Uri>().is_ok() && !path.contains("/../");
    expect(is_target, "a URL in Location", location)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_may_be_absolute_or_relative() {
        for (location, target) in [
            ("https://up.example.org/files/a?b=c", "/files/a?b=c"),
            ("//up.example.org/files/a", "/files/a"),
            ("/files/a", "/files/a"),
            ("a", "/files/a"),
            ("./a", "/files/a"),
        ] {
            assert_eq!(resolve("/files/", location).unwrap(), target, "{location}");
        }
        assert_eq!(resolve("/files", "files/a").unwrap(), "/files/a");
        assert!(resolve("/files", "/a b").is_err());
        assert!(resolve("/files", "../a/../b").is_err());
    }

    #[test]
    fn a_need_is_met_by_what_is_announced_or_by_decree() {
        let mut target = TusTarget::default();
        let needs = [Need::Extension("creation"), Need::Extension("checksum")];
        target.announced.extensions = vec!["creation".into()];
        assert_eq!(target.missing(&needs).as_deref(), Some("Tus-Extension lacks checksum"));
        target.takes_all_for_granted = true;
        assert_eq!(target.missing(&needs), None);
        assert!(
            target.missing(&[Need::ShortExpiry]).is_some(),
            "what only the command line can tell is not decreed"
        );
    }

    #[test]
    fn only_a_grant_of_the_suites_own_can_be_varied() {
        let mut target = TusTarget { grant: Some(("x".into(), Issuer::User)), ..TusTarget::default() };
        assert!(target.missing(&[Need::GrantedCreation]).is_some());
        target.grant = Some(("x".into(), Issuer::Suite));
        assert_eq!(target.missing(&[Need::GrantedCreation]), None);
        target.creations_per_minute = Some(5);
        assert!(
            target.missing(&[Need::GrantedCreation]).is_some(),
            "where all may create, nobody is refused"
        );
    }
}
