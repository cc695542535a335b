//! Who may call: whoever names this machine. A web page elsewhere names itself as `Origin`; one whose name was made to lead
//! here (DNS rebinding) names itself as `Host`.

use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::{Authority, Uri};
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::Response;

use super::refusal as refuse;

/// The names of this machine to itself.
const NAMES: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// The refusal of a request that was not meant for this machine by this machine.
pub(super) fn refusal<B>(request: &Request<B>) -> Option<Response> {
    let headers = request.headers();
    let hosts = || headers.get_all(HOST).iter();
    // A request may name its host in its first line, too.
    let first_line = request.uri().authority();
    if hosts().next().is_none() {
        return Some(forbidden("Host", ""));
    }
    if let Some(authority) = first_line.filter(|authority| !is_here(authority)) {
        return Some(forbidden("Host", authority.as_str()));
    }
    if let Some(host) = hosts().find(|host| !is_host_here(host)) {
        return Some(forbidden("Host", &String::from_utf8_lossy(host.as_bytes())));
    }
    let origin = headers.get_all(ORIGIN).iter().find(|origin| !is_origin_here(origin))?;
    Some(forbidden("Origin", &String::from_utf8_lossy(origin.as_bytes())))
}

fn forbidden(header: &str, value: &str) -> Response {
    let why = format!(
        "{header} {value:?} is not this machine: this is a local stack, which answers to {} and to pages from there. Call it by \
         one of these names",
        NAMES.join(", ")
    );
    refuse(StatusCode::FORBIDDEN, &why)
}

fn is_host_here(value: &HeaderValue) -> bool {
    value.to_str().ok().and_then(|host| host.parse().ok()).is_some_and(|authority| is_here(&authority))
}

/// Whether a page is from this machine. `null`, which one may send that has no origin or hides it, is nobody's.
pub(crate) fn is_origin_here(value: &HeaderValue) -> bool {
    let origin = value.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    origin.is_some_and(|origin| origin.scheme().is_some() && origin.authority().is_some_and(is_here))
}

fn is_here(authority: &Authority) -> bool {
    let is_this = |name: &&str| authority.host().eq_ignore_ascii_case(name);
    !authority.as_str().contains('@') && NAMES.iter().any(is_this)
}
