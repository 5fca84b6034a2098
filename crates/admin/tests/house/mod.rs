//! A listener with its API on a port of its own, a client that says what it is told to, and a team of Cloudflare Access
//! whose keys are made here.
#![allow(dead_code, reason = "each test uses a part of it")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the lint's leave for tests does not reach the functions they share"
)]

use crate::stage::Stage;
use admin::{Auth, AuthSettings, NewToken, Numbers, Role, TeamSettings, Tokens};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The kind of a problem.
    pub(crate) fn problem(&self) -> String {
        self.json()["type"].as_str().unwrap_or_default().trim_start_matches("urn:switchyard:").to_owned()
    }
}

/// A listener, as it is configured.
pub(crate) struct House {
    pub(crate) address: SocketAddr,
    pub(crate) stage: Stage,
    pub(crate) tokens: Arc<Tokens>,
}

pub(crate) fn settings() -> AuthSettings {
    AuthSettings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        hosts: vec!["switchyard.example.org".into()],
        behind_tls: false,
        client_header: None,
        anonymous_viewer: false,
        viewers_see: Numbers::Whole,
        session_life: Duration::from_secs(3_600),
        team: None,
    }
}

impl House {
    pub(crate) async fn open(settings: AuthSettings) -> House {
        let stage = Stage::migrated().await;
        let listener = TcpListener::bind(settings.listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let api = stage.api();
        let tokens = Arc::clone(&api.tokens);
        let auth = Auth::new(AuthSettings { listen: address, ..settings }, Arc::clone(&tokens)).unwrap();
        tokio::spawn(admin::listener::serve(listener, api, Arc::new(auth)));
        House { address, stage, tokens }
    }

    /// A token of someone with this role, as a header.
    pub(crate) fn token(&self, who: &str, role: Role) -> String {
        let new = NewToken { who: who.into(), role, ends_s: None };
        self.tokens.add(new, now_s()).unwrap().1
    }

    pub(crate) fn bearer(&self, who: &str, role: Role) -> String {
        format!("Authorization: Bearer {}", self.token(who, role))
    }

    /// One request with these header lines, `Host` among them unless one is given.
    pub(crate) async fn ask(&self, method: &str, path: &str, lines: &[&str], body: &str) -> Answer {
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        if !lines.iter().any(|line| line.starts_with("Host:")) {
            lines.push(format!("Host: {}", self.address));
        }
        if !body.is_empty() && !lines.iter().any(|line| line.starts_with("Content-Type:")) {
            lines.push("Content-Type: application/json".into());
        }
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\n{}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}",
            lines.join("\r\n")
        );
        self.raw(&request).await
    }

    /// What is answered to these bytes, until the connection is closed.
    pub(crate) async fn raw(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // Whoever is refused early may be closed while it writes.
        let _written = stream.write_all(request.as_bytes()).await;
        let mut bytes = Vec::new();
        let _closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap();
        read(&String::from_utf8_lossy(&bytes))
    }
}

fn read(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body =
        if head.to_ascii_lowercase().contains("transfer-encoding: chunked") { unchunked(body) } else { body.into() };
    Answer { status, head: head.to_owned(), body }
}

fn unchunked(mut text: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = text.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or(0);
        if length == 0 || rest.len() < length {
            break;
        }
        whole.push_str(&rest[..length]);
        text = rest[length..].trim_start_matches("\r\n");
    }
    whole
}

pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A private key that openssl makes, with the id that its public half is served under.
pub(crate) struct TeamKey {
    id: &'static str,
    pair: RsaKeyPair,
}

impl TeamKey {
    pub(crate) fn make(id: &'static str) -> TeamKey {
        let made = Command::new("openssl")
            .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-outform", "DER"])
            .output()
            .unwrap_or_else(|fault| panic!("openssl does not start: {fault}; `cargo xtask test` installs it"));
        TeamKey { id, pair: RsaKeyPair::from_der(&made.stdout).unwrap() }
    }

    fn public(&self) -> Value {
        let components = ring::signature::RsaPublicKeyComponents::<Vec<u8>>::from(self.pair.public_key());
        let [n, e] = [components.n, components.e].map(|part| URL_SAFE_NO_PAD.encode(part));
        json!({ "kid": self.id, "kty": "RSA", "alg": "RS256", "use": "sig", "n": n, "e": e })
    }

    /// The modulus, as somebody takes it for a shared secret.
    pub(crate) fn modulus(&self) -> Vec<u8> {
        ring::signature::RsaPublicKeyComponents::<Vec<u8>>::from(self.pair.public_key()).n
    }

    /// A token that says this, signed by this key.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({ "alg": "RS256", "kid": self.id, "typ": "JWT" }), claims)
    }

    pub(crate) fn sign_as(&self, head: &Value, claims: &Value) -> String {
        let signed = unsigned(head, claims);
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Head and claims without a signature.
pub(crate) fn unsigned(head: &Value, claims: &Value) -> String {
    let [head, claims] = [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    format!("{head}.{claims}")
}

/// A server of keys. What it serves can be changed; it counts how often it was asked.
pub(crate) struct KeyServer {
    pub(crate) url: String,
    served: Arc<Mutex<(String, u32)>>,
}

impl KeyServer {
    pub(crate) async fn start(keys: &[&TeamKey]) -> KeyServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/cdn-cgi/access/certs", listener.local_addr().unwrap());
        let served = Arc::new(Mutex::new((String::new(), 0)));
        let server = KeyServer { url, served: Arc::clone(&served) };
        server.serves(keys);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = [0; 4_096];
                let _read = stream.read(&mut asked).await;
                let body = {
                    let mut served = served.lock().unwrap();
                    served.1 += 1;
                    served.0.clone()
                };
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _written = stream.write_all((head + &body).as_bytes()).await;
            }
        });
        server
    }

    pub(crate) fn serves(&self, keys: &[&TeamKey]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
        self.served.lock().unwrap().0 = json!({ "keys": keys }).to_string();
    }

    pub(crate) fn asked(&self) -> u32 {
        self.served.lock().unwrap().1
    }

    pub(crate) fn team(&self) -> TeamSettings {
        let roles = [("meera@example.org", Role::Admin), ("@example.org", Role::Viewer)];
        TeamSettings {
            issuer: "https://example.cloudflareaccess.com".into(),
            keys_url: self.url.clone(),
            audiences: vec!["our-application".into()],
            roles: roles.into_iter().map(|(who, role)| (who.to_owned(), role)).collect::<BTreeMap<_, _>>(),
        }
    }
}
