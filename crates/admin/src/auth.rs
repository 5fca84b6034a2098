//! Who asks over the listener. What they show is looked at in this order, and the first that is there decides:
//!
//! 1. `Authorization: Bearer`: a token, one per person ([`Tokens`]).
//! 2. `Cf-Access-Jwt-Assertion`: Cloudflare Access says who it is, where a team is configured.
//! 3. A cookie: a browser session that somebody with a token has opened.
//! 4. Nothing: a viewer, only if configured, only from loopback, only by a loopback name, and never for a write.
//!
//! What is shown and wrong is refused; it is never as if nothing had been shown. 2 and 3 are added by a browser whoever
//! made it ask: their writes must also say what no other site can know ([`Caller::csrf`]).

mod assertion;
mod clients;
mod sessions;
mod team;
mod tokens;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, Method};

use crate::access::{Caller, Numbers, Role};
use crate::problem::{Kind, Problem};
use clients::Clients;
use sessions::{SessionKey, Sessions, key_of};
use team::Team;

pub use team::TeamSettings;
pub use tokens::{NewToken, TOKENS_NAME, Token, Tokens, TokensFault};

/// The header in which Cloudflare Access says who asks.
const ASSERTION: &str = "cf-access-jwt-assertion";
/// The header in which a browser's write says its [`Caller::csrf`].
pub const CSRF: &str = "x-csrf-token";
/// The longest value of a header that is looked at.
const SHOWN_BYTES_MAX: usize = 1_024;

/// Who may what over the listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthSettings {
    /// The listener's address.
    pub listen: SocketAddr,
    /// What else stands in `Host` of requests that are for us: a name, with its port where that is not the scheme's.
    pub hosts: Vec<String>,
    /// Whether browsers come by TLS, which somebody before us ends: then cookies are for TLS alone.
    pub behind_tls: bool,
    /// The header in which a proxy before us says who its client is, in small letters.
    pub client_header: Option<String>,
    /// Whether somebody on this machine who shows nothing is a viewer.
    pub anonymous_viewer: bool,
    /// How viewers are shown numbers.
    pub viewers_see: Numbers,
    /// How long a browser session lasts.
    pub session_life: Duration,
    /// The team of Cloudflare Access.
    pub team: Option<TeamSettings>,
}

/// Knows who asks.
#[derive(Debug)]
pub struct Auth {
    settings: AuthSettings,
    tokens: Arc<Tokens>,
    sessions: Sessions,
    clients: Clients,
    team: Option<Team>,
    /// What a session's [`Caller::csrf`] is made with. It lives as long as the process, as sessions do.
    secret: [u8; 32],
}

/// A request, as far as it says who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'r> {
    pub(crate) method: &'r Method,
    pub(crate) headers: &'r HeaderMap,
    /// The other end of the connection.
    pub(crate) remote: IpAddr,
}

impl Auth {
    /// What is right for the state folder that `tokens` belong to. A fault where there is no randomness.
    pub fn new(settings: AuthSettings, tokens: Arc<Tokens>) -> std::io::Result<Auth> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(std::io::Error::other)?;
        let team = settings.team.clone().map(Team::new);
        let sessions = Sessions::new(settings.session_life);
        Ok(Auth { settings, tokens, sessions, clients: Clients::default(), team, secret })
    }

    /// Whether anybody can be known at all: without it the listener stays on loopback.
    pub fn knows_anybody(settings: &AuthSettings, state_dir: &Path) -> bool {
        settings.team.is_some() || Tokens::new(state_dir).list().is_ok_and(|tokens| !tokens.is_empty())
    }

    /// Keeps fresh what is fetched. Ends at once where nothing is.
    pub(crate) async fn keep_fresh(&self) {
        if let Some(team) = &self.team {
            team.keep_fresh().await;
        }
    }

    /// Whether browsers come by TLS.
    pub(crate) fn is_behind_tls(&self) -> bool {
        self.settings.behind_tls
    }

    /// A fault unless the request is for us, and its client has not asked too much.
    pub(crate) fn admit(&self, shown: Shown<'_>) -> Result<(), Problem> {
        let host = host_of(shown.headers);
        let is_ours = self.is_loopback_name(host)
            || host == self.settings.listen.to_string()
            || self.settings.hosts.iter().any(|own| own == host);
        if !is_ours {
            let detail = "found a Host that is not ours, expected the listener's address or one of admin.hosts";
            return Err(Problem::new(Kind::Host, detail));
        }
        if !self.clients.may_ask(self.client(shown), Instant::now()) {
            return Err(Problem::new(Kind::TooMany, "found too many requests of this client, expected fewer a second"));
        }
        Ok(())
    }

    /// Who asks; `None` where nothing is shown. A fault where what is shown is wrong.
    pub(crate) async fn identify(&self, shown: Shown<'_>) -> Result<Option<Caller>, Problem> {
        let headers = shown.headers;
        if let Some(written) = headers.get(AUTHORIZATION) {
            let token = written.to_str().ok().and_then(|text| text.split_once(' '));
            let token =
                token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
            let token = token.and_then(|token| self.token(token));
            return token.map(|token| Some(self.by_token(&token, shown))).ok_or_else(|| self.refused(shown, "token"));
        }
        if let (Some(team), Some(assertion)) = (&self.team, headers.get(ASSERTION)) {
            return self.by_assertion(team, assertion.to_str().unwrap_or_default(), shown).await.map(Some);
        }
        if let Some(key) = self.session(headers) {
            let id = self.sessions.token_of(&key, Instant::now());
            if let Some(token) = id.and_then(|id| self.tokens.by_id(&id, now_s())) {
                let origin = format!("session of token {} from {}", token.id, self.place(shown));
                let csrf = Some(self.csrf_of(b"session", &key));
                return Ok(Some(Caller { csrf, ..self.caller(token.who, token.role, origin) }));
            }
        }
        let is_here = self.settings.anonymous_viewer
            && self.settings.listen.ip().is_loopback()
            && shown.remote.is_loopback()
            && self.is_loopback_name(host_of(headers))
            && is_reading(shown.method);
        let origin = || format!("without a login from {}", self.place(shown));
        Ok(is_here.then(|| self.caller("anonymous".to_owned(), Role::Viewer, origin())))
    }

    /// A fault unless a write is meant by who asks: what a browser adds by itself proves nothing.
    pub(crate) fn check_meant(&self, caller: &Caller, shown: Shown<'_>) -> Result<(), Problem> {
        let Some(csrf) = &caller.csrf else { return Ok(()) };
        if is_reading(shown.method) {
            return Ok(());
        }
        self.check_site(shown.headers)?;
        let said = shown.headers.get(CSRF).map(|said| said.as_bytes()).unwrap_or_default();
        // Hashes are compared in constant time.
        if blake3::hash(said) == blake3::hash(csrf.as_bytes()) {
            return Ok(());
        }
        Err(Problem::new(Kind::Forbidden, format!("found no good {CSRF}, expected the one that GET /session answers")))
    }

    /// A fault where a browser says that another site made it ask.
    pub(crate) fn check_site(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let foreign = || Problem::new(Kind::Forbidden, "found a request that another site made, expected one of ours");
        if let Some(origin) = headers.get(ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
            if !authority.eq_ignore_ascii_case(host_of(headers)) {
                return Err(foreign());
            }
        }
        match headers.get("sec-fetch-site").map(|site| site.as_bytes()) {
            None | Some(b"same-origin" | b"none") => Ok(()),
            Some(_) => Err(foreign()),
        }
    }

    /// Opens a browser session for whoever has this token. The answer is who it is, and the cookie.
    pub(crate) fn log_in(&self, text: &str, shown: Shown<'_>) -> Result<(Caller, String), Problem> {
        self.check_site(shown.headers)?;
        let token = self.token(text.trim()).ok_or_else(|| self.refused(shown, "token"))?;
        let cookie = self.sessions.open(&token.id, Instant::now());
        let cookie = cookie.map_err(|error| Problem::new(Kind::Internal, format!("no randomness: {error}")))?;
        let key = key_of(&cookie);
        let caller = self.by_token(&token, shown);
        tracing::info!(who = %caller.who, origin = %caller.origin, "admin: logged in");
        let csrf = Some(self.csrf_of(b"session", &key));
        let (name, life_s) = (self.cookie_name(), self.sessions.life().as_secs());
        let secure = if self.settings.behind_tls { "; Secure" } else { "" };
        let cookie = format!("{name}={cookie}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Strict{secure}");
        Ok((Caller { csrf, ..caller }, cookie))
    }

    /// Ends the session of a request. The answer is what takes its cookie away.
    pub(crate) fn log_out(&self, headers: &HeaderMap) -> String {
        if let Some(key) = self.session(headers) {
            self.sessions.end(&key);
        }
        let secure = if self.settings.behind_tls { "; Secure" } else { "" };
        format!("{}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict{secure}", self.cookie_name())
    }

    async fn by_assertion(&self, team: &Team, assertion: &str, shown: Shown<'_>) -> Result<Caller, Problem> {
        match team.verify(assertion).await {
            Ok((email, Some(role))) => {
                let csrf = Some(self.csrf_of(b"access", email.as_bytes()));
                let origin = format!("Cloudflare Access from {}", self.place(shown));
                Ok(Caller { csrf, ..self.caller(email, role, origin) })
            }
            Ok((email, None)) => {
                let detail = format!("found {email}, who has no role, expected somebody of admin.access.roles");
                Err(Problem::new(Kind::Forbidden, detail))
            }
            Err(fault) => {
                let problem = self.refused(shown, "assertion of Cloudflare Access");
                tracing::info!(%fault, "admin: an assertion of Cloudflare Access was refused");
                Err(problem)
            }
        }
    }

    fn by_token(&self, token: &Token, shown: Shown<'_>) -> Caller {
        let origin = format!("token {} from {}", token.id, self.place(shown));
        self.caller(token.who.clone(), token.role, origin)
    }

    fn caller(&self, who: String, role: Role, origin: String) -> Caller {
        let numbers = if role == Role::Viewer { self.settings.viewers_see } else { Numbers::Whole };
        Caller { who, role, origin, numbers, csrf: None }
    }

    fn token(&self, text: &str) -> Option<Token> {
        if text.is_empty() || text.len() > SHOWN_BYTES_MAX {
            return None;
        }
        match self.tokens.find(text, now_s()) {
            Ok(found) => found,
            Err(fault) => {
                tracing::error!(%fault, "admin: nobody can log in by a token");
                None
            }
        }
    }

    /// A failed login, counted.
    fn refused(&self, shown: Shown<'_>, what: &str) -> Problem {
        let client = self.client(shown);
        if !self.clients.may_fail(client, Instant::now()) {
            return Problem::new(Kind::TooMany, "found too many failed logins of this client, expected fewer a minute");
        }
        tracing::warn!(%client, "admin: a login failed: the {what} is not good");
        Problem::new(Kind::Unauthenticated, format!("found a {what} that is not good, expected one that is"))
    }

    /// Who is counted: the proxy's client where one is configured and says so, else the other end.
    fn client(&self, shown: Shown<'_>) -> IpAddr {
        let named =
            self.settings.client_header.as_deref().and_then(|name| shown.headers.get_all(name).iter().next_back());
        // Of a list the last was added by the proxy next to us.
        let named = named.and_then(|value| value.to_str().ok()).and_then(|value| value.rsplit(',').next());
        named.and_then(|address| address.trim().parse().ok()).unwrap_or(shown.remote)
    }

    fn place(&self, shown: Shown<'_>) -> String {
        match self.client(shown) {
            client if client == shown.remote => client.to_string(),
            client => format!("{client} by {}", shown.remote),
        }
    }

    fn csrf_of(&self, what: &[u8], of: &[u8]) -> String {
        let mut mac = blake3::Hasher::new_keyed(&self.secret);
        mac.update(what).update(&[0]).update(of);
        mac.finalize().to_hex().to_string()
    }

    fn session(&self, headers: &HeaderMap) -> Option<SessionKey> {
        let name = self.cookie_name();
        let cookies = headers.get_all(COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
        let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = pairs.find(|(found, _)| *found == name)?;
        (value.len() <= SHOWN_BYTES_MAX).then(|| key_of(value))
    }

    fn cookie_name(&self) -> &'static str {
        // With this prefix a browser takes it by TLS alone, and from no other host of the domain.
        if self.settings.behind_tls { "__Host-switchyard" } else { "switchyard" }
    }

    fn is_loopback_name(&self, host: &str) -> bool {
        let port = self.settings.listen.port();
        let is_name =
            |name: &str| host.strip_prefix(name).and_then(|rest| rest.strip_prefix(':')) == Some(&port.to_string());
        self.settings.listen.ip().is_loopback() && ["localhost", "127.0.0.1", "[::1]"].into_iter().any(is_name)
    }
}

/// The one `Host`; empty where there is none, or more than one.
fn host_of(headers: &HeaderMap) -> &str {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().unwrap_or_default(),
        _ => "",
    }
}

/// Whether a request changes nothing.
pub(crate) fn is_reading(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
