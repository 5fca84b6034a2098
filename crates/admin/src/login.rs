//! The login of the page: a token opens a session. Whoever is not known is sent here.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Form, Query, Request, State};
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;

use crate::access::Caller;
use crate::api::session::Login;
use crate::auth::{Auth, Shown};
use crate::page;
use crate::problem::{Kind, Problem};

/// Where whoever is not known is sent.
pub(crate) const PATH: &str = "/admin/login";
const PAGE: &str = include_str!("login.html");

/// Where somebody wanted to go.
#[derive(Default, Deserialize)]
struct Wish {
    next: Option<String>,
}

pub(crate) fn router(auth: Arc<Auth>) -> Router {
    Router::new()
        .route(PATH, get(async || Html(shown(""))).post(log_in))
        .route("/admin/logout", post(log_out))
        .with_state(auth)
}

/// Sends whoever is not known to the login. What browsers draw the login with is for everybody.
pub(crate) async fn for_known(caller: Result<Caller, Problem>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    match caller {
        Ok(_) if path.starts_with("/api/") => {
            Problem::new(Kind::NotFound, "found no such resource, expected one of /api/v1").into_response()
        }
        Err(problem) if path.starts_with("/api/") => problem.into_response(),
        Ok(_) => next.run(request).await,
        Err(_) if path.starts_with("/admin/assets/") => next.run(request).await,
        Err(_) => found_at(PATH),
    }
}

async fn log_in(
    State(auth): State<Arc<Auth>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    method: Method,
    headers: HeaderMap,
    Query(Wish { next }): Query<Wish>,
    Form(Login { token }): Form<Login>,
) -> Response {
    let shown_by = Shown { method: &method, headers: &headers, remote: remote.ip() };
    match auth.log_in(&token, shown_by) {
        Ok((_, cookie)) => ([(SET_COOKIE, cookie)], found_at(&own_path(next))).into_response(),
        Err(problem) => (problem.kind.status(), Html(shown(&problem.title))).into_response(),
    }
}

async fn log_out(State(auth): State<Arc<Auth>>, _known: Caller, headers: HeaderMap) -> impl IntoResponse {
    ([(SET_COOKIE, auth.log_out(&headers))], StatusCode::NO_CONTENT)
}

/// A page of ours, whatever was wished for: a login must not lead elsewhere.
fn own_path(wish: Option<String>) -> String {
    let is_own = |path: &str| {
        let is_plain = |c: char| c.is_ascii_graphic() && c != '\\';
        (path == "/admin" || path.starts_with("/admin/") || path.starts_with("/admin?"))
            && !path.contains("//")
            && path.chars().all(is_plain)
    };
    wish.filter(|path| is_own(path)).unwrap_or_else(|| "/admin".to_owned())
}

fn found_at(path: &str) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, path.to_owned())]).into_response()
}

/// The form, with why the last try failed.
fn shown(fault: &str) -> String {
    let fault = if fault.is_empty() { String::new() } else { format!("<p role=\"alert\">{fault}</p>") };
    PAGE.replace("{style}", page::style_path().as_str()).replace("{fault}", &fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_to_our_own_pages_alone() {
        for own in ["/admin", "/admin/dids?search=08065978002", "/admin/audit"] {
            assert_eq!(own_path(Some(own.into())), own);
        }
        for other in [
            "//evil.example.com",
            "https://evil.example.com",
            "/admin//evil",
            "/adminx",
            "/admin/\\x",
            "/admin\r\nX: 1",
            "",
        ] {
            assert_eq!(own_path(Some(other.into())), "/admin", "{other:?}");
        }
    }
}
