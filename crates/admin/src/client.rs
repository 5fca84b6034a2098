//! The command line's side of the API.

use crate::problem::{Kind, Problem};
use crate::server::SOCKET_NAME;
use crate::status::Status;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST, IF_MATCH};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// How long a running process may take to answer: longer than a write may take at the database.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes that an answer may have.
const ANSWER_BYTES: usize = 16 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskFault {
    /// Nobody listens.
    #[error("{}: no switchyard answers here ({source}); is it running with this configuration?", path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The socket may not be opened.
    #[error("{}: this socket is for root and the group {}", .0.display(), crate::access::OPERATORS)]
    NotAllowed(PathBuf),
    /// It listens and does not answer.
    #[error("{}: no answer in {} s", .0.display(), PATIENCE.as_secs())]
    Silent(PathBuf),
    /// It answered something else.
    #[error("{}: expected an answer of the API, found {found}", path.display())]
    Unexpected {
        /// The socket.
        path: PathBuf,
        /// What came.
        found: String,
    },
    /// It said why not.
    #[error(transparent)]
    Refused(#[from] Box<Problem>),
}

/// Asks the process whose state folder this is what it says of itself.
pub async fn fetch_status(state_dir: &Path) -> Result<Status, AskFault> {
    Client::new(state_dir).fetch("status").await
}

/// The way to a running process, over its Unix socket. Paths are those behind `/api/v1/`.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// The way to the process whose state folder this is.
    pub fn new(state_dir: &Path) -> Client {
        Client { path: state_dir.join(SOCKET_NAME) }
    }

    /// The state folder.
    pub fn state_dir(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// `GET`
    pub async fn fetch<T: DeserializeOwned>(&self, resource: &str) -> Result<T, AskFault> {
        self.ask(Method::GET, resource, None, None).await
    }

    /// `GET` of what is no JSON: a picture, a capture.
    pub async fn fetch_bytes(&self, resource: &str) -> Result<Bytes, AskFault> {
        self.ask_bytes(Method::GET, resource, None, None).await
    }

    /// `GET` with what stands behind `?`.
    pub async fn find<T: DeserializeOwned>(&self, resource: &str, question: &impl Serialize) -> Result<T, AskFault> {
        let question = serde_urlencoded::to_string(question).map_err(|error| self.unexpected(error.to_string()))?;
        self.ask(Method::GET, &format!("{resource}?{question}"), None, None).await
    }

    /// `PUT` or `POST`; `version` is what `If-Match` says.
    pub async fn write<T: DeserializeOwned>(
        &self,
        method: Method,
        resource: &str,
        version: Option<&str>,
        body: &impl Serialize,
    ) -> Result<T, AskFault> {
        let body = serde_json::to_vec(body).map_err(|error| self.unexpected(error.to_string()))?;
        self.ask(method, resource, version, Some(("application/json", body))).await
    }

    /// `POST` of a table for spreadsheets, with what stands behind `?`.
    pub async fn send_table<T: DeserializeOwned>(
        &self,
        resource: &str,
        question: &impl Serialize,
        table: Vec<u8>,
    ) -> Result<T, AskFault> {
        let question = serde_urlencoded::to_string(question).map_err(|error| self.unexpected(error.to_string()))?;
        self.ask(Method::POST, &format!("{resource}?{question}"), None, Some(("text/csv", table))).await
    }

    /// `DELETE`
    pub async fn end<T: DeserializeOwned>(&self, resource: &str, reason: &str) -> Result<T, AskFault> {
        let question = serde_urlencoded::to_string([("reason", reason)]);
        let question = question.map_err(|error| self.unexpected(error.to_string()))?;
        self.ask(Method::DELETE, &format!("{resource}?{question}"), None, None).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        resource: &str,
        version: Option<&str>,
        body: Option<(&'static str, Vec<u8>)>,
    ) -> Result<T, AskFault> {
        let answer = self.ask_bytes(method, resource, version, body).await?;
        serde_json::from_slice(&answer).map_err(|error| self.unexpected(error.to_string()))
    }

    async fn ask_bytes(
        &self,
        method: Method,
        resource: &str,
        version: Option<&str>,
        body: Option<(&'static str, Vec<u8>)>,
    ) -> Result<Bytes, AskFault> {
        let stream = UnixStream::connect(&self.path).await.map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => AskFault::NotAllowed(self.path.clone()),
            _ => AskFault::NotRunning { path: self.path.clone(), source },
        })?;
        let request = Request::builder().method(method).uri(format!("/api/v1/{resource}")).header(HOST, "switchyard");
        let request = version.into_iter().fold(request, |request, version| {
            let tag = if version == "*" { version.to_owned() } else { format!("\"{version}\"") };
            request.header(IF_MATCH, tag)
        });
        let request = match body {
            Some((kind, body)) => request.header(CONTENT_TYPE, kind).body(Full::new(Bytes::from(body))),
            None => request.body(Full::default()),
        };
        // What does not fit into a request never reaches the process.
        let too_long = |error: axum::http::Error| {
            let detail = format!("found {error}, expected a request that can be sent");
            AskFault::Refused(Box::new(Problem::new(Kind::Invalid, detail)))
        };
        let request = request.map_err(too_long)?;
        let (status, answer) = match tokio::time::timeout(PATIENCE, exchange(stream, request)).await {
            Ok(answered) => answered.map_err(|found| self.unexpected(found))?,
            Err(_) => return Err(AskFault::Silent(self.path.clone())),
        };
        if status.is_success() {
            return Ok(answer);
        }
        match serde_json::from_slice::<Problem>(&answer) {
            Ok(problem) => Err(AskFault::Refused(Box::new(problem))),
            Err(_) => Err(self.unexpected(format!("HTTP {status}"))),
        }
    }

    fn unexpected(&self, found: String) -> AskFault {
        AskFault::Unexpected { path: self.path.clone(), found }
    }
}

/// The error is what was found in place of an answer.
async fn exchange(stream: UnixStream, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), String> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (head, body) = Response::into_parts(response);
        let body = Limited::new(body, ANSWER_BYTES).collect().await.map_err(|error| error.to_string())?;
        Ok((head.status, body.to_bytes()))
    };
    tokio::pin!(exchange);
    tokio::pin!(connection);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => match ended {
            // The connection may end with its answer already delivered.
            Ok(()) => exchange.await,
            Err(error) => Err(error.to_string()),
        },
    }
}
