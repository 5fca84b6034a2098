//! Who asks, and what they may: over the Unix socket the kernel says who is at the other end.

use std::fmt;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use nix::unistd::{Gid, Group, Uid, User};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::problem::{Kind, Problem};

/// The group whose members are operators.
pub const OPERATORS: &str = "switchyard";

/// What someone may, each also what those before it may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees everything, changes nothing.
    Viewer,
    /// Moves DIDs, makes and ends leases and tester overrides.
    Operator,
    /// Panic, and what the guard holds back.
    Admin,
}

/// Who asks. Whatever the API is served over, this stands in the request's extensions before a route sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The name that is recorded with every change.
    pub who: String,
    /// What they may.
    pub role: Role,
    /// From where they ask, and by what they were known: it is recorded with every change.
    pub origin: String,
    /// How they are shown numbers.
    pub numbers: Numbers,
    /// What a write must say beside its cookie; `None` where no browser adds who asks by itself.
    pub csrf: Option<String>,
}

/// How somebody is shown numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Numbers {
    /// As they are.
    #[default]
    Whole,
    /// Without their last two digits.
    Part,
}

impl Caller {
    /// Somebody who is shown everything.
    pub fn new(who: impl Into<String>, role: Role) -> Caller {
        Caller { who: who.into(), role, origin: String::new(), numbers: Numbers::Whole, csrf: None }
    }

    /// The user at the other end of our Unix socket: root and the user that we run as are admins, members of the group
    /// [`OPERATORS`] operators, whoever else may open the socket a viewer. It asks the system's user database, which
    /// may take its time.
    pub fn at_socket(user: u32, group: u32) -> Caller {
        let user = Uid::from_raw(user);
        let known = User::from_uid(user).ok().flatten();
        let who = known.as_ref().map_or_else(|| format!("uid {user}"), |known| known.name.clone());
        let origin = "unix socket".to_owned();
        if user.is_root() || user == Uid::effective() {
            return Caller { origin, ..Caller::new(who, Role::Admin) };
        }
        let operators = Group::from_name(OPERATORS).ok().flatten();
        let is_operator = operators.is_some_and(|operators| {
            let is_listed = known.as_ref().is_some_and(|known| operators.mem.contains(&known.name));
            let is_own = known.as_ref().is_some_and(|known| known.gid == operators.gid);
            is_listed || is_own || Gid::from_raw(group) == operators.gid
        });
        Caller { origin, ..Caller::new(who, if is_operator { Role::Operator } else { Role::Viewer }) }
    }

    /// A fault unless they may do what takes this role.
    pub(crate) fn may(&self, needed: Role) -> Result<(), Problem> {
        if self.role >= needed {
            return Ok(());
        }
        let Caller { who, role, .. } = self;
        Err(Problem::new(
            Kind::Forbidden,
            format!("found {who}, {} {role}; expected {} {needed}", role.article(), needed.article()),
        ))
    }
}

impl Role {
    pub(crate) const fn article(self) -> &'static str {
        match self {
            Role::Viewer => "a",
            Role::Operator | Role::Admin => "an",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        })
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(word: &str) -> Result<Role, String> {
        match word {
            "viewer" => Ok(Role::Viewer),
            "operator" => Ok(Role::Operator),
            "admin" => Ok(Role::Admin),
            _ => Err(format!("found the role {word:?}, expected viewer, operator or admin")),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Caller, Problem> {
        parts.extensions.get().cloned().ok_or_else(|| {
            Problem::new(Kind::Unauthenticated, "found nobody known, expected a token, a session or Cloudflare Access")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_our_own_user_are_admins_and_a_stranger_is_a_viewer() {
        let root = Caller { origin: "unix socket".into(), ..Caller::new("root", Role::Admin) };
        assert_eq!(Caller::at_socket(0, 0), root);
        assert_eq!(Caller::at_socket(Uid::effective().as_raw(), 0).role, Role::Admin);
        let stranger = Caller::at_socket(4_000_000_001, 4_000_000_001);
        assert_eq!((stranger.who.as_str(), stranger.role), ("uid 4000000001", Role::Viewer));
        assert!(stranger.may(Role::Viewer).is_ok());
        let refused = stranger.may(Role::Operator).unwrap_err();
        assert_eq!(refused.kind, Kind::Forbidden);
        assert_eq!(refused.detail, "found uid 4000000001, a viewer; expected an operator");
    }
}
