//! What every request over the listener passes before a route sees it, and every answer on its way out.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::Method;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use tokio::sync::Semaphore;

use crate::access::{Caller, Numbers};
use crate::api::session;
use crate::auth::{Auth, Shown};
use crate::limits::{EVENT_STREAMS_MAX, REQUEST_TIME_MAX};
use crate::login;
use crate::numbers;
use crate::page;
use crate::problem::{Kind, Problem};

/// No script, style, frame or form of another origin, and none that stands in the page itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The listener's doorkeeper.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) auth: Arc<Auth>,
    streams: Arc<Semaphore>,
}

impl Gate {
    pub(crate) fn new(auth: Arc<Auth>) -> Gate {
        Gate { auth, streams: Arc::new(Semaphore::new(EVENT_STREAMS_MAX)) }
    }
}

/// Puts the [`Caller`] into a request, where there is one, and holds it to its rates, its host and its time.
pub(crate) async fn pass(
    State(gate): State<Arc<Gate>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let is_behind_tls = gate.auth.is_behind_tls();
    let is_of_api = request.uri().path().starts_with("/api/");
    let answer = async {
        let shown = Shown { method: request.method(), headers: request.headers(), remote: remote.ip() };
        let caller = match known(&gate.auth, shown, request.uri().path()).await {
            Ok(caller) => caller,
            Err(problem) => return problem.into_response(),
        };
        let is_in_part = caller.as_ref().is_some_and(|caller| caller.numbers == Numbers::Part);
        if let Some(caller) = caller {
            let csrf = caller.csrf.clone().unwrap_or_default();
            request.extensions_mut().insert(page::Session { csrf, masks_numbers: is_in_part });
            request.extensions_mut().insert(caller);
        }
        let response = next.run(request).await;
        if is_in_part && is_of_api { numbers::in_part(response).await } else { response }
    };
    let response = match tokio::time::timeout(REQUEST_TIME_MAX, answer).await {
        Ok(response) => gate.counted(response),
        Err(_) => {
            let limit_s = REQUEST_TIME_MAX.as_secs();
            Problem::new(Kind::Slow, format!("found no whole request and its answer in {limit_s} s")).into_response()
        }
    };
    guarded(response, is_behind_tls)
}

/// Refuses who is not known: what is behind it is for [`Caller`]s alone.
pub(crate) async fn for_callers(caller: Result<Caller, Problem>, request: Request, next: Next) -> Response {
    match caller {
        Ok(_) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

async fn known(auth: &Auth, shown: Shown<'_>, path: &str) -> Result<Option<Caller>, Problem> {
    auth.admit(shown)?;
    // Whoever logs in is not who he was before, and his site is looked at there.
    let is_login = matches!(path, login::PATH | session::PATH) && *shown.method == Method::POST;
    if is_login {
        return Ok(None);
    }
    let caller = auth.identify(shown).await?;
    if let Some(caller) = &caller {
        auth.check_meant(caller, shown)?;
    }
    Ok(caller)
}

impl Gate {
    /// A stream of events has a place of its own until it ends.
    fn counted(&self, response: Response) -> Response {
        let content = response.headers().get(header::CONTENT_TYPE);
        if !content.is_some_and(|content| content.as_bytes().starts_with(b"text/event-stream")) {
            return response;
        }
        let Ok(place) = Arc::clone(&self.streams).try_acquire_owned() else {
            tracing::warn!(limit = EVENT_STREAMS_MAX, "limit event_streams: one more was refused");
            return Problem::new(Kind::TooMany, "found no room for one more stream of events").into_response();
        };
        let (head, body) = response.into_parts();
        let body = body.map_frame(move |frame| {
            let _kept = &place;
            frame
        });
        Response::from_parts(head, Body::new(body))
    }
}

/// What every answer says to a browser.
fn guarded(mut response: Response, is_behind_tls: bool) -> Response {
    let headers = response.headers_mut();
    let mut say = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    say(header::CONTENT_SECURITY_POLICY, POLICY);
    say(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    say(header::X_FRAME_OPTIONS, "DENY");
    // With "no-referrer" a browser says `Origin: null` of its own login form, which nobody could tell from a foreign one.
    say(header::REFERRER_POLICY, "same-origin");
    say(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    say(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    say(HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()");
    say(header::CACHE_CONTROL, "no-store");
    if is_behind_tls {
        say(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    response
}
