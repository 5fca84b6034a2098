//! `GET /admin/events`: tells an open page that there is something new, so that two people see each other's changes.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};

use super::frame::Looker;
use crate::api::Api;

/// How soon a page hears of a change, at the latest.
const LOOKS_EVERY: Duration = Duration::from_millis(500);
/// A proxy on the way may close a connection on which nothing comes for a minute.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

pub(super) async fn stream(looker: Looker) -> Response {
    Sse::new(changes(looker)).keep_alive(KeepAlive::new().interval(SIGN_OF_LIFE)).into_response()
}

/// What a page shows changes with one of these. Cheap: it is looked at for every open page.
#[derive(Clone, PartialEq, Eq)]
struct Seen {
    generation: u64,
    held: Option<(u64, bool)>,
    trouble: bool,
}

fn seen(api: &Api) -> Seen {
    let directory = api.directory();
    let held = api.watcher.held().map(|held| (held.version, held.is_rejected));
    Seen { generation: directory.generation().0, held, trouble: api.watcher.status().fault.is_some() }
}

fn changes(looker: Looker) -> impl Stream<Item = Result<Event, Infallible>> {
    let first = seen(&looker.api);
    stream::unfold((looker, first), |(looker, before)| async move {
        loop {
            tokio::time::sleep(LOOKS_EVERY).await;
            let now = seen(&looker.api);
            if now != before {
                let event = Event::default().event("changed").data(now.generation.to_string());
                return Some((Ok(event), (looker, now)));
            }
        }
    })
}
