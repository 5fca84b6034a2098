//! What stands around every page: who looks, where one can go, and what must not be overlooked.

use std::fmt;
use std::sync::Arc;

use axum::extract::{Extension, FromRequestParts, State};
use axum::http::request::Parts;
use axum::response::Response;

use super::assets;
use crate::access::{Caller, Numbers, Role};
use crate::api::{Api, times};
use crate::status::Status;

/// The browser's session, where the request belongs to one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Session {
    /// What every write of the page carries, to show that the page made it.
    pub csrf: String,
    /// Whether numbers are shown in part.
    pub masks_numbers: bool,
}

/// Who looks at a page.
pub(super) struct Looker {
    pub(super) api: Arc<Api>,
    pub(super) caller: Caller,
    session: Option<Session>,
}

impl FromRequestParts<Arc<Api>> for Looker {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Looker, Response> {
        use axum::response::IntoResponse;
        let caller = Extension::<Caller>::from_request_parts(parts, api).await;
        let Extension(caller) = caller.map_err(IntoResponse::into_response)?;
        Ok(Looker { api: Arc::clone(api), caller, session: parts.extensions.get::<Session>().cloned() })
    }
}

impl Looker {
    /// What the API's own functions take: what it is about.
    pub(super) fn state(&self) -> State<Arc<Api>> {
        State(Arc::clone(&self.api))
    }

    /// What they take, too: who asks.
    pub(super) fn extension(&self) -> Extension<Caller> {
        Extension(self.caller.clone())
    }

    /// How they are shown numbers.
    pub(super) fn numbers(&self) -> Numbers {
        let masks = self.session.as_ref().is_some_and(|session| session.masks_numbers);
        if masks { Numbers::Part } else { Numbers::Whole }
    }

    /// The frame of a page of this section.
    pub(super) fn frame(&self, section: &'static str) -> Frame {
        self.frame_of(section, &(self.api.status)())
    }

    /// The same, with what the process says of itself already asked for.
    pub(super) fn frame_of(&self, section: &'static str, status: &Status) -> Frame {
        let session = self.session.clone().unwrap_or_default();
        Frame {
            section,
            environment: status.environment.clone(),
            version: status.version.clone(),
            generation: status.directory.generation,
            who: self.caller.who.clone(),
            role: self.caller.role.to_string(),
            is_operator: self.caller.role >= Role::Operator,
            is_admin: self.caller.role >= Role::Admin,
            has_session: !session.csrf.is_empty(),
            csrf: session.csrf,
            masks_numbers: session.masks_numbers,
            banners: banners(&self.api, status),
            style: assets::style_name(),
            script: assets::script_name(),
        }
    }
}

/// What the templates know on every page.
pub(super) struct Frame {
    pub(super) section: &'static str,
    pub(super) environment: String,
    pub(super) version: String,
    pub(super) generation: u64,
    pub(super) who: String,
    pub(super) role: String,
    pub(super) is_operator: bool,
    pub(super) is_admin: bool,
    pub(super) has_session: bool,
    pub(super) csrf: String,
    pub(super) masks_numbers: bool,
    pub(super) banners: Vec<Banner>,
    pub(super) style: &'static str,
    pub(super) script: &'static str,
}

/// One entry of the menu.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) path: &'static str,
}

impl Frame {
    pub(super) fn entries(&self) -> [Entry; 8] {
        [
            ("Overview", "/admin"),
            ("Numbers", "/admin/dids"),
            ("Calls", "/admin/calls"),
            ("Peers", "/admin/peers"),
            ("Testers", "/admin/testers"),
            ("Generations", "/admin/generations"),
            ("Faults", "/admin/faults"),
            ("Audit", "/admin/audit"),
        ]
        .map(|(name, path)| Entry { name, path })
    }

    /// How this person is shown numbers.
    pub(super) fn numbers(&self) -> Numbers {
        if self.masks_numbers { Numbers::Part } else { Numbers::Whole }
    }

    /// A number as this person may see it: all of it, or without its last two digits.
    pub(super) fn number(&self, number: &str) -> String {
        self.numbers().shown(number)
    }
}

/// What stands above every page until it is over.
pub(super) struct Banner {
    /// `alarm` or `warn`.
    pub(super) tone: &'static str,
    pub(super) title: &'static str,
    pub(super) text: String,
}

fn banners(api: &Api, status: &Status) -> Vec<Banner> {
    let mut banners = Vec::new();
    let directory = &status.directory;
    if let Some(panic) = api.directory().overlays().panic {
        let until =
            panic.ends_at_ms.map_or("until it is released".to_owned(), |at| format!("until {}", times::shown(at)));
        banners.push(Banner { tone: "alarm", title: "Panic:", text: format!("every call goes to prod, {until}.") });
    }
    if !directory.held.is_empty() {
        let text = format!("{}. Calls go on by the old table.", directory.held.join("; "));
        banners.push(Banner { tone: "alarm", title: "Held back by the guard:", text });
    }
    if !directory.loaded {
        let text = "calls are refused with 503.".to_owned();
        banners.push(Banner { tone: "alarm", title: "No table yet:", text });
    }
    if let Some(trouble) = &directory.trouble {
        let text = format!("{trouble}. Calls go on by the last good table.");
        banners.push(Banner { tone: "warn", title: "Database away:", text });
    }
    if status.draining {
        let text = "new calls are refused with 503, everything else goes on.".to_owned();
        banners.push(Banner { tone: "alarm", title: "Draining:", text });
    }
    banners
}

/// A time, for people and for the page's countdowns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Moment {
    /// Milliseconds since 1970.
    pub(super) ms: u64,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&times::shown(self.ms))
    }
}
