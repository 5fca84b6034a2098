//! What an open page hears, as server-sent events: `GET /admin/events` tells that there is something new, so that two people
//! see each other's changes; `GET /admin/calls/events` and `GET /admin/dids/events` tell of calls beside, as they begin,
//! change and end.
//!
//! | event | data | to |
//! | --- | --- | --- |
//! | `changed` | the generation | all |
//! | `call` | `id`, and `row` unless the call does not fit what the page asks for | calls |
//! | `did` | `number`, and `cells` of its row | dids, with whole numbers |
//! | `many` | `all`: the page asks for itself | calls, dids |

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use telemetry::calls::CallFilter;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::Instant;

use super::calls::{self, Form};
use super::frame::Looker;
use super::pulse::{News, Pulse};
use crate::access::Numbers;
use crate::api::request::Query;
use crate::problem::{Kind, Problem};

/// A proxy on the way may close a connection on which nothing comes for a minute.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);

/// Which generation the page shows: it may be another one by the time it listens.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct Since {
    generation: Option<u64>,
}

pub(super) async fn stream(_: Looker, Extension(pulse): Extension<Pulse>, Query(since): Query<Since>) -> Response {
    let (numbers, kind) = (Numbers::Part, Kinds::Changes);
    listen(Page { pulse, calls: None, numbers, kind, waiting: VecDeque::new() }, since)
}

/// The page of calls, as its form asks.
pub(super) async fn of_calls(
    looker: Looker,
    Extension(pulse): Extension<Pulse>,
    (Query(form), Query(since)): (Query<Form>, Query<Since>),
) -> Response {
    let filter: CallFilter = match form.filter().parse() {
        Ok(filter) => filter,
        Err(fault) => return Problem::new(Kind::Invalid, format!("filter: {fault}")).into_response(),
    };
    let (calls, is_in_progress) = (Some(pulse.calls()), form.is_in_progress());
    let kind = Kinds::Calls { filter, is_in_progress };
    listen(Page { pulse, calls, numbers: looker.numbers(), kind, waiting: VecDeque::new() }, since)
}

/// The page of DIDs. Of numbers that are shown in part nobody could tell which row is meant: they hear of changes alone.
pub(super) async fn of_dids(
    looker: Looker,
    Extension(pulse): Extension<Pulse>,
    Query(since): Query<Since>,
) -> Response {
    let numbers = looker.numbers();
    let calls = (numbers == Numbers::Whole).then(|| pulse.calls());
    listen(Page { pulse, calls, numbers, kind: Kinds::Dids, waiting: VecDeque::new() }, since)
}

/// A stream ends after this time, and browsers open it again: so whoever may not look any more is refused then.
const STREAM_LIFE: Duration = Duration::from_secs(300);

/// One open page.
struct Page {
    pulse: Pulse,
    calls: Option<broadcast::Receiver<Arc<Vec<News>>>>,
    numbers: Numbers,
    kind: Kinds,
    waiting: VecDeque<Event>,
}

enum Kinds {
    Changes,
    Calls { filter: CallFilter, is_in_progress: bool },
    Dids,
}

#[derive(Serialize)]
struct CallEvent<'a> {
    id: u64,
    row: Option<&'a str>,
}

#[derive(Serialize)]
struct DidEvent<'a> {
    number: &'a str,
    cells: &'a str,
}

fn listen(page: Page, since: Since) -> Response {
    listen_for(STREAM_LIFE, page, since)
}

fn listen_for(life: Duration, mut page: Page, since: Since) -> Response {
    // What was there before the page was is on it.
    page.pulse.seen.mark_unchanged();
    let generation = page.pulse.seen.borrow().generation;
    if since.generation.is_some_and(|shown| shown < generation) {
        page.waiting.push_back(changed(generation));
    }
    let events = stream::unfold((page, Instant::now() + life), async |(mut page, ends)| {
        let next = tokio::time::timeout_at(ends, page.next()).await.ok()??;
        Some((Ok::<Event, Infallible>(next), (page, ends)))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(SIGN_OF_LIFE)).into_response()
}

impl Page {
    /// The next event; none when the process ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            tokio::select! {
                is_changed = self.pulse.seen.changed() => {
                    is_changed.ok()?;
                    let generation = self.pulse.seen.borrow_and_update().generation;
                    return Some(changed(generation));
                }
                news = next_of(&mut self.calls) => match news {
                    Ok(news) => news.iter().for_each(|news| self.take(news)),
                    // It did not keep up, and asks for itself.
                    Err(RecvError::Lagged(_)) => return Some(many()),
                    Err(RecvError::Closed) => self.calls = None,
                },
            }
        }
    }

    fn take(&mut self, news: &News) {
        let call = match news {
            News::Call(call) => call,
            News::Many => {
                self.waiting.push_back(many());
                return;
            }
        };
        let event = match &self.kind {
            Kinds::Changes => None,
            Kinds::Calls { filter, is_in_progress } => {
                let fits = filter.matches(&call.record) && (!is_in_progress || calls::is_in_progress(&call.record));
                let data = CallEvent { id: call.id, row: fits.then(|| call.row(self.numbers)) };
                Event::default().event("call").json_data(data).ok()
            }
            Kinds::Dids => call
                .did
                .as_ref()
                .and_then(|(number, cells)| Event::default().event("did").json_data(DidEvent { number, cells }).ok()),
        };
        self.waiting.extend(event);
    }
}

fn changed(generation: u64) -> Event {
    Event::default().event("changed").data(generation.to_string())
}

fn many() -> Event {
    // A browser passes no event on whose data are empty.
    Event::default().event("many").data("all")
}

async fn next_of(calls: &mut Option<broadcast::Receiver<Arc<Vec<News>>>>) -> Result<Arc<Vec<News>>, RecvError> {
    match calls {
        Some(calls) => calls.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    /// What a browser opens again is asked again who it is. What was due is told before the end.
    #[tokio::test]
    async fn a_stream_ends_by_itself() {
        let (_seeing, pulse) = Pulse::still();
        let mut page =
            Page { pulse, calls: None, numbers: Numbers::Part, kind: Kinds::Changes, waiting: VecDeque::new() };
        page.waiting.push_back(changed(7));
        let (life, begun) = (Duration::from_millis(50), Instant::now());
        let body = listen_for(life, page, Since::default()).into_body().collect();
        let body = tokio::time::timeout(Duration::from_secs(30), body).await.unwrap().unwrap().to_bytes();
        assert!(begun.elapsed() >= life);
        assert_eq!(body, "event: changed\ndata: 7\n\n");
    }
}
