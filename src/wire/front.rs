//! The front door: every request passes here once.
//!
//! In this order: request id and span, OPTIONS, health, path, dialect; then CORS headers, figures and one log line on
//! whatever the answer is.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Instant,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use salvo::{
    Depot, FlowCtrl, Handler, Request, Response, Service, async_trait, catcher::Catcher, routing::Router,
};
use tracing::Instrument;

use super::{
    Call, House, body, content_range, cors, credentials::too_often, download, path, reply::Reply, session,
    tus, visit::Visit, xep0363,
};
use crate::{fault::Component, id};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The service of the public listener.
#[must_use]
pub fn service(house: Arc<House>) -> Service {
    let unhandled = Unhandled { house: Arc::clone(&house) };
    let front = Front { house };
    Service::new(Router::new().push(Router::with_path("{**rest}").goal(front)))
        .catcher(Catcher::new(unhandled))
}

struct Front {
    house: Arc<House>,
}

#[async_trait]
impl Handler for Front {
    async fn handle(&self, req: &mut Request, _: &mut Depot, res: &mut Response, _: &mut FlowCtrl) {
        let began = Instant::now();
        let request_id = request_id(req);
        let (method, version) = (req.method().clone(), req.version());
        let origin = req.headers().get(header::ORIGIN).cloned();
        let span = tracing::info_span!("request", id = %request_id, method = %method, upload = tracing::field::Empty);
        let answering = self.answer(req, &request_id).instrument(span.clone());
        let ((route, mut reply), ends) = body::noting_unread(answering).await;
        // [XEP-107] the rest of the body will not be read to its end
        if ends {
            reply = reply.with(header::CONNECTION, "close");
        }
        self.house.cors.mark(origin.as_ref(), &mut reply.headers);
        reply = reply.with(X_REQUEST_ID, &request_id);
        self.house.metrics.request(method.as_str(), route, reply.status.as_u16());
        span.in_scope(|| {
            tracing::info!(
                route, status = reply.status.as_u16(), peer = %req.remote_addr(), ?version,
                ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX), "answered"
            );
        });
        reply.write(res);
    }
}

impl Front {
    async fn answer(&self, req: &mut Request, request_id: &str) -> (&'static str, Reply) {
        let house = &*self.house;
        let arrived = house.clock.now();
        if req.method() == Method::OPTIONS {
            return ("options", options(house, req.headers()));
        }
        // [XEP-84] HTTP/1.1 names its host exactly once
        if req.version() == Version::HTTP_11 && req.headers().get_all(header::HOST).iter().count() != 1 {
            let detail = "an HTTP/1.1 request has exactly one Host field";
            return ("none", Reply::problem(StatusCode::BAD_REQUEST, "malformed", detail));
        }
        // [XEP-105] RFC 9112 section 3.2
        if !req.headers().get(header::HOST).is_none_or(is_host) {
            body::unwanted(req.take_body(), req.headers(), req.version());
            let detail = "the Host field is not a host with an optional port";
            return ("none", Reply::problem(StatusCode::BAD_REQUEST, "malformed", detail));
        }
        // [XEP-106] the library takes the chunks off, and what is within them would be stored as if it were the file
        if !has_known_coding(req.headers()) {
            let detail = "of the transfer codings this server knows chunked alone";
            let reply = Reply::problem(StatusCode::NOT_IMPLEMENTED, "transfer-coding", detail);
            return ("none", reply.with(header::CONNECTION, "close"));
        }
        let raw = req.uri().path();
        match raw {
            // [XEP-143] with a base path of `/` nobody takes this for an upload
            "/healthz" | "/readyz" if !matches!(*req.method(), Method::GET | Method::HEAD) => {
                let detail = "this path is a page of the server; it takes GET and HEAD";
                let reply = Reply::problem(StatusCode::METHOD_NOT_ALLOWED, "method", detail);
                body::unwanted(req.take_body(), req.headers(), req.version());
                return ("health", reply.with(header::ALLOW, "GET, HEAD, OPTIONS"));
            }
            "/healthz" => return ("health", Reply::new(StatusCode::OK).no_store()),
            "/readyz" => return ("health", ready(house).await),
            _ => {}
        }
        let remote = req.remote_addr().ip().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let place = house.place(house.proxies.client(remote, req.headers()), req.headers());
        if let Err(stopped) = house.may_ask(&place).await {
            body::unwanted(req.take_body(), req.headers(), req.version());
            return ("none", too_often(house, &place, stopped));
        }
        let raw = req.uri().path();
        if let session::PATH | session::REFRESH = raw {
            let path = if raw == session::PATH { session::PATH } else { session::REFRESH };
            body::unwanted(req.take_body(), req.headers(), req.version());
            let (method, query) = (req.method().clone(), req.uri().query().map(str::to_owned));
            let headers = std::mem::take(req.headers_mut());
            let question = session::Question { house, method, path, headers, query, place };
            return ("session", Box::pin(question.answer()).await);
        }
        let Ok(decoded) = path::decode(raw) else {
            body::unwanted(req.take_body(), req.headers(), req.version());
            return (
                "none",
                Reply::problem(StatusCode::BAD_REQUEST, "malformed", "the path is not UTF-8 text"),
            );
        };
        let behind_alias = house.behind_alias(&decoded);
        let is_alias = behind_alias.is_some();
        let decoded = behind_alias.unwrap_or(decoded);
        let Some((realm, rest)) = house.realm_of(&decoded) else {
            body::unwanted(req.take_body(), req.headers(), req.version());
            return (
                "none",
                Reply::problem(StatusCode::NOT_FOUND, "unknown", "nothing is served at this path"),
            );
        };
        let method = match method_of(req) {
            Ok(method) => method,
            Err(detail) => {
                body::unwanted(req.take_body(), req.headers(), req.version());
                return ("none", Reply::problem(StatusCode::BAD_REQUEST, "malformed", detail));
            }
        };
        let visit = Arc::<Visit>::default();
        let call = Call {
            house,
            realm,
            method,
            raw_path: req.uri().path().to_owned(),
            place: place.clone(),
            request_id: request_id.to_owned(),
            visit: Arc::clone(&visit),
            authority: req.uri().authority().map(|authority| authority.as_str().to_owned()),
            forwarded_origin: house.proxies.origin(remote, req.headers()),
            version: req.version(),
            query: req.uri().query().map(str::to_owned),
            name: crate::upload::Name(decoded.clone()),
            path: rest.to_owned(),
            headers: std::mem::take(req.headers_mut()),
            body: req.take_body(),
        };
        let (route, reply) = if is_alias { read_only(call).await } else { dispatch(call).await };
        (route, visit.sign(house, (place, arrived), route == "xep0363", reply).await)
    }
}

/// OPTIONS, preflight or not. The tus headers too: every URL speaks tus, and its clients look here for what we can do.
fn options(house: &House, request: &HeaderMap) -> Reply {
    tus::headers::announce(house.cors.options(request), house.max_size)
}

/// The method that a request asks for. [TUS-12] Of a POST the override counts, and the actual method does not.
fn method_of(req: &Request) -> Result<Method, &'static str> {
    let Some(value) = req.headers().get("x-http-method-override") else { return Ok(req.method().clone()) };
    let named = Method::from_bytes(value.as_bytes()).map_err(|_| "X-HTTP-Method-Override is not a method")?;
    // [TUS-126] a GET that writes would pass whoever filters, keeps or repeats requests by their method
    if *req.method() != Method::POST && named != *req.method() {
        return Err("X-HTTP-Method-Override counts on POST alone");
    }
    Ok(named)
}

/// [XEP-142] what is complete, below the alias of a base path
async fn read_only(call: Call<'_>) -> (&'static str, Reply) {
    match call.method.as_str() {
        "OPTIONS" => ("options", options(call.house, &call.headers)),
        "GET" | "HEAD" => ("download", Box::pin(download::get(call)).await),
        _ => {
            let detail =
                "below this path files are read; they are written below the base path of their slots";
            let reply = Reply::problem(StatusCode::METHOD_NOT_ALLOWED, "method", detail);
            ("none", reply.with(header::ALLOW, "GET, HEAD, OPTIONS"))
        }
    }
}

/// The method and the headers choose the dialect.
async fn dispatch(call: Call<'_>) -> (&'static str, Reply) {
    let speaks_tus = call.headers.contains_key(tus::headers::TUS_RESUMABLE);
    match call.method.as_str() {
        "OPTIONS" => ("options", options(call.house, &call.headers)),
        "POST" | "PATCH" => ("tus", Box::pin(tus::handle(call)).await),
        "HEAD" | "DELETE" if speaks_tus => ("tus", Box::pin(tus::handle(call)).await),
        _ if call.path.is_empty() => {
            let detail = "uploads are created here, by POST";
            let reply = Reply::problem(StatusCode::METHOD_NOT_ALLOWED, "method", detail);
            ("none", reply.with(header::ALLOW, "POST, OPTIONS"))
        }
        "DELETE" => ("download", Box::pin(download::delete(call)).await),
        "PUT" if call.headers.contains_key(header::CONTENT_RANGE) => {
            ("content-range", Box::pin(content_range::put(call)).await)
        }
        "PUT" => ("xep0363", Box::pin(xep0363::put(call)).await),
        "GET" => ("download", Box::pin(download::get(call)).await),
        "HEAD" => ("download", Box::pin(download::head(call)).await),
        _ => {
            let detail = "this URL takes the methods that Allow lists";
            let reply = Reply::problem(StatusCode::METHOD_NOT_ALLOWED, "method", detail);
            ("none", reply.with(header::ALLOW, cors::ALLOW))
        }
    }
}

async fn ready(house: &House) -> Reply {
    match house.engine.ready().await {
        Ok(()) => Reply::new(StatusCode::OK).no_store(),
        Err(fault) => {
            tracing::error!(%fault, "not ready");
            let detail = match fault.component {
                Component::Ledger if fault.full => "the ledger's disk is full; only deletions are taken",
                Component::Ledger => "the ledger takes no changes",
                Component::Blobs => "the store is not there",
                Component::Leases | Component::Sessions | Component::Abuse => "a part does not answer",
            };
            Reply::problem(StatusCode::SERVICE_UNAVAILABLE, "not-ready", detail)
        }
    }
}

/// RFC 3986 section 3.2.2 and 3.2.3: a name, an address, or one in brackets, and perhaps a port. It may be empty.
fn is_host(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let is_port = |text: &str| text.is_empty() || text.strip_prefix(':').is_some_and(is_digits);
    if let Some(rest) = text.strip_prefix('[') {
        let Some((inner, port)) = rest.split_once(']') else { return false };
        let is_literal = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:%".contains(&b);
        return !inner.is_empty() && inner.bytes().all(is_literal) && is_port(port);
    }
    let (name, port) = text.find(':').map_or((text, ""), |at| text.split_at(at));
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&b);
    name.bytes().all(is_name) && is_port(port)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

fn has_known_coding(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(only), None) => only.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// The client's id when it is a plain word, so that its logs and ours can be matched; else one of ours. Shorter than a
/// session's id, which would else be in the log of whoever takes the one for the other.
fn request_id(req: &Request) -> String {
    let given = req.headers().get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
    let plain = |text: &&str| {
        (1..64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    given.filter(plain).map_or_else(id::random_hex_128, str::to_owned)
}

/// Salvo's own refusals, before a request reaches [`Front`]: a problem document instead of its HTML page.
struct Unhandled {
    house: Arc<House>,
}

#[async_trait]
impl Handler for Unhandled {
    async fn handle(&self, req: &mut Request, _: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        let status = res.status_code.unwrap_or(StatusCode::NOT_FOUND);
        if !res.headers().contains_key(header::CONTENT_TYPE) {
            let mut reply = Reply::problem(status, "http", "the request could not be handled");
            self.house.cors.mark(req.headers().get(header::ORIGIN), &mut reply.headers);
            reply.write(res);
        }
        res.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        ctrl.skip_rest();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for good in [
            "a.example",
            "a.example:8080",
            "192.0.2.1",
            "[2001:db8::1]:443",
            "[::1]",
            "localhost:",
            "",
            "a_b",
        ] {
            assert!(is_host(&HeaderValue::from_str(good).unwrap()), "{good}");
        }
        for bad in [
            "a b",
            "a.example:80x",
            "a/b",
            "a@b",
            "http://a",
            "[::1",
            "[]",
            "::1",
            "a:1:2",
            "a,b\"",
            "a?b",
            "a#b",
        ] {
            assert!(!is_host(&HeaderValue::from_str(bad).unwrap()), "{bad}");
        }
    }
}
