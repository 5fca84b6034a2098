//! A team of Cloudflare Access: its keys, fetched off the path of requests and kept, and who of it may what.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::HOST;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use super::assertion::{AssertionFault, Expected, TeamKeys};
use crate::access::Role;
use crate::limits::{TEAM_KEYS_AGE_MAX, TEAM_KEYS_BYTES_MAX};

/// How often the keys are fetched.
const EVERY: Duration = Duration::from_secs(3_600);
/// How soon they are fetched again when it failed, or when a token names a key that is not among them.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// How long a fetch may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is known of a team.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TeamSettings {
    /// Who signs: `https://TEAM.cloudflareaccess.com`, without `/` at the end.
    pub issuer: String,
    /// Where the keys are served.
    pub keys_url: String,
    /// The tags of the applications that are ours.
    pub audiences: Vec<String>,
    /// Who may what: e-mail addresses, or `@` and a domain for everybody of it, in small letters.
    pub roles: BTreeMap<String, Role>,
}

/// A team, with its keys as they were fetched last.
#[derive(Debug)]
pub(crate) struct Team {
    settings: TeamSettings,
    keys: ArcSwap<Fetched>,
    /// When it was tried last. One fetches at a time, and others wait for him.
    tried: Mutex<Option<Instant>>,
}

#[derive(Default, Debug)]
struct Fetched {
    keys: TeamKeys,
    at: Option<Instant>,
}

impl Team {
    pub(crate) fn new(settings: TeamSettings) -> Team {
        Team { settings, keys: ArcSwap::default(), tried: Mutex::new(None) }
    }

    /// Who a token is about, and what he may; `None` where he has no role.
    pub(crate) async fn verify(&self, token: &str) -> Result<(String, Option<Role>), AssertionFault> {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let email = match self.verify_at(token, now_s, Instant::now()) {
            // The team may have a new key.
            Err(AssertionFault::UnknownKey) => {
                self.fetch_unless_tried(AGAIN_AFTER).await;
                self.verify_at(token, now_s, Instant::now())?
            }
            verified => verified?,
        };
        let role = self.role_of(&email);
        Ok((email, role))
    }

    fn verify_at(&self, token: &str, now_s: u64, now: Instant) -> Result<String, AssertionFault> {
        let fetched = self.keys.load();
        // Keys that could not be confirmed for so long may have been taken back.
        if fetched.at.is_none_or(|at| now.saturating_duration_since(at) > TEAM_KEYS_AGE_MAX) {
            return Err(AssertionFault::UnknownKey);
        }
        let TeamSettings { issuer, audiences, .. } = &self.settings;
        fetched.keys.verify(token, Expected { issuer, audiences, now_s })
    }

    fn role_of(&self, email: &str) -> Option<Role> {
        let roles = &self.settings.roles;
        let of_domain = || email.find('@').and_then(|at| email.get(at..)).and_then(|domain| roles.get(domain));
        roles.get(email).or_else(of_domain).copied()
    }

    /// Keeps the keys fresh. Never ends.
    pub(crate) async fn keep_fresh(&self) {
        loop {
            let is_good = self.fetch_unless_tried(Duration::ZERO).await;
            tokio::time::sleep(if is_good { EVERY } else { AGAIN_AFTER }).await;
        }
    }

    /// Fetches the keys, unless that was tried within `within`. A fetch that fails leaves those that there are.
    async fn fetch_unless_tried(&self, within: Duration) -> bool {
        let mut tried = self.tried.lock().await;
        if tried.is_some_and(|at| at.elapsed() < within) {
            return false;
        }
        *tried = Some(Instant::now());
        let url = &self.settings.keys_url;
        let answer = tokio::time::timeout(PATIENCE, fetch(url)).await;
        let answer = answer.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)));
        let keys = answer.and_then(|json| {
            TeamKeys::read(&json).ok_or_else(|| io::Error::other("found no set of RSA keys (RFC 7517)"))
        });
        match keys {
            Ok(keys) => {
                tracing::debug!(%url, keys = keys.len(), "the keys of the Access team were fetched");
                self.keys.store(Arc::new(Fetched { keys, at: Some(Instant::now()) }));
                true
            }
            Err(fault) => {
                tracing::warn!(%url, %fault, "the keys of the Access team cannot be fetched; those that are known stay");
                false
            }
        }
    }
}

/// `GET`, over TLS unless the URL says `http`.
async fn fetch(url: &str) -> io::Result<Bytes> {
    let uri: Uri = url.parse().map_err(io::Error::other)?;
    let is_tls = uri.scheme_str() == Some("https");
    let host = uri.host().ok_or_else(|| io::Error::other("the URL names no host"))?.to_owned();
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let stream = TcpStream::connect((bare.as_str(), port)).await?;
    if !is_tls {
        return exchange(stream, &uri).await;
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(bare).map_err(io::Error::other)?;
    exchange(TlsConnector::from(Arc::new(config)).connect(name, stream).await?, &uri).await
}

async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, uri: &Uri) -> io::Result<Bytes> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let driven = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(path).header(HOST, authority).body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    if !answer.status().is_success() {
        return Err(io::Error::other(format!("found HTTP {}, expected 200", answer.status())));
    }
    let body = Limited::new(answer.into_body(), TEAM_KEYS_BYTES_MAX).collect().await.map_err(io::Error::other)?;
    driven.abort();
    Ok(body.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::TEAM_KEYS_MAX;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn keys(count: usize) -> String {
        let key = |id| format!("{{\"kty\":\"RSA\",\"kid\":\"{id}\",\"n\":\"AQAB\",\"e\":\"AQAB\"}}");
        format!("{{\"keys\":[{}]}}", (0..count).map(key).collect::<Vec<_>>().join(","))
    }

    /// A team whose server answers with this.
    async fn team(body: String) -> Team {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let keys_url = format!("http://{}/certs", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _asked = stream.read(&mut [0; 1_024]).await;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                let _sent = stream.write_all((head + &body).as_bytes()).await;
            }
        });
        Team::new(TeamSettings { issuer: String::new(), keys_url, audiences: Vec::new(), roles: BTreeMap::new() })
    }

    #[tokio::test]
    async fn a_set_of_keys_has_its_limits() {
        let many = team(keys(TEAM_KEYS_MAX + 5)).await;
        assert!(many.fetch_unless_tried(Duration::ZERO).await);
        assert_eq!(many.keys.load().keys.len(), TEAM_KEYS_MAX);
        let long = team(format!("{}{}", keys(1), " ".repeat(TEAM_KEYS_BYTES_MAX))).await;
        assert!(!long.fetch_unless_tried(Duration::ZERO).await);
        assert_eq!(long.keys.load().keys.len(), 0);
        assert!(!team("{\"keys\":[]}".into()).await.fetch_unless_tried(Duration::ZERO).await);
    }

    #[tokio::test]
    async fn keys_that_could_not_be_confirmed_for_a_day_are_no_longer_good() {
        let team = team(keys(1)).await;
        assert!(team.fetch_unless_tried(Duration::ZERO).await);
        // A token of this key gets as far as its signature.
        let token = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjAifQ.e30.AA";
        let now = Instant::now();
        assert_eq!(team.verify_at(token, 0, now), Err(AssertionFault::Signature));
        let late = now + TEAM_KEYS_AGE_MAX + Duration::from_secs(1);
        assert_eq!(team.verify_at(token, 0, late), Err(AssertionFault::UnknownKey));
    }
}
