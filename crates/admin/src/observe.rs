//! What machines ask over HTTP: `/metrics`, `/healthz` and `/readyz`, on a listener of its own.
//!
//! Nothing here can be changed and nothing is secret: no number, caller or Call-ID. It has no authentication, so it is
//! bound to loopback or to an address that only the monitoring reaches.

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// The content type of Prometheus' text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
/// How long a scrape waits for room.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Requests that are answered at one time; others wait.
const AT_ONCE: usize = 8;

/// Whether calls are served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Readiness {
    /// A table is there, and new calls are taken.
    Ready,
    /// New calls are refused, for this reason.
    NotReady(&'static str),
}

/// Where the answers come from; asked for each request.
pub trait Observed: Send + Sync + 'static {
    /// The text of a scrape.
    fn metrics(&self) -> String;
    /// Whether calls are served.
    fn readiness(&self) -> Readiness;
}

/// Answers until `ended` resolves.
pub async fn serve_observed(
    listener: TcpListener,
    observed: Arc<dyn Observed>,
    ended: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let room = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let metrics = {
        let observed = Arc::clone(&observed);
        move || scrape(Arc::clone(&observed), Arc::clone(&room))
    };
    let ready = move || {
        let readiness = observed.readiness();
        async move {
            match readiness {
                Readiness::Ready => (StatusCode::OK, "ready\n".to_owned()),
                Readiness::NotReady(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
            }
        }
    };
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready));
    axum::serve(listener, router).with_graceful_shutdown(ended).await
}

/// Rendering takes milliseconds of a thread that nobody waits for.
async fn scrape(observed: Arc<dyn Observed>, room: Arc<tokio::sync::Semaphore>) -> impl IntoResponse {
    let busy = (StatusCode::SERVICE_UNAVAILABLE, "too many scrapes at once\n").into_response();
    let Ok(Ok(_place)) = tokio::time::timeout(ANSWER_WITHIN, room.acquire()).await else { return busy };
    match tokio::task::spawn_blocking(move || observed.metrics()).await {
        Ok(text) => ([(header::CONTENT_TYPE, EXPOSITION)], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the scrape failed\n").into_response(),
    }
}
