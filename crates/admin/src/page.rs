//! What people see: server-rendered pages under `/admin`, on the values that the API answers with.
//!
//! A page reads through the API's own functions and writes through the API itself (`assets/page.js`), so that page, command
//! line and scripts say and do the same. Everything is in the binary: templates are compiled in, and so are the style
//! and the one script, under names that change with their content.

mod assets;
mod calls;
mod dids;
mod events;
mod frame;
mod overview;
mod pulse;
mod tables;

use std::sync::Arc;

use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Extension, Router};

use crate::api::Api;
use crate::problem::{Kind, Problem};
pub use frame::Session;
use frame::{Frame, Looker};
use pulse::Pulse;

/// Every page. Whatever serves it puts a [`crate::Caller`] into each request's extensions first, and a [`Session`] where
/// there is one. It must be called on a runtime: one task there looks for all pages, until the API is gone.
pub fn router(api: Arc<Api>) -> Router {
    let pulse = Pulse::start(&api);
    Router::new()
        .route("/admin", get(overview::show))
        .route("/admin/", get(async || Redirect::permanent("/admin")))
        .route("/admin/dids", get(dids::show))
        .route("/admin/dids/events", get(events::of_dids))
        .route("/admin/calls", get(calls::list))
        .route("/admin/calls/events", get(events::of_calls))
        .route("/admin/calls/{id}", get(calls::show))
        .route("/admin/peers", get(tables::peers))
        .route("/admin/generations", get(tables::generations))
        .route("/admin/faults", get(tables::faults))
        .route("/admin/testers", get(tables::testers))
        .route("/admin/audit", get(tables::audit))
        .route("/admin/events", get(events::stream))
        .route("/admin/assets/{name}", get(assets::asset))
        .fallback(async |looker: Looker| not_found(&looker))
        .layer(Extension(pulse))
        .with_state(api)
}

/// Where the style of every page is.
pub(crate) fn style_path() -> String {
    format!("/admin/assets/{}", assets::style_name())
}

fn not_found(looker: &Looker) -> Response {
    shown_problem(looker, &Problem::new(Kind::NotFound, "found no such page"))
}

/// A page from its template.
fn page<T: askama::Template>(template: &T) -> Response {
    match template.render() {
        Ok(text) => Html(text).into_response(),
        Err(fault) => Problem::new(Kind::Internal, fault.to_string()).into_response(),
    }
}

#[derive(askama::Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    frame: Frame,
    title: String,
    detail: String,
}

/// The page of a request that cannot be answered as asked.
fn shown_problem(looker: &Looker, problem: &Problem) -> Response {
    let Problem { title, detail, .. } = problem.clone();
    let shown = page(&ProblemPage { frame: looker.frame(""), title, detail });
    (problem.kind.status(), shown).into_response()
}
