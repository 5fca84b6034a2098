//! The command line's side of the API.

use crate::server::SOCKET_NAME;
use crate::status::Status;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// How long a running process may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that an answer may have.
const ANSWER_BYTES: usize = 4 << 20;

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
    /// It listens and does not answer.
    #[error("{}: no answer in {} s", .0.display(), PATIENCE.as_secs())]
    Silent(PathBuf),
    /// It answered something else.
    #[error("{}: expected a status, found {found}", path.display())]
    Unexpected {
        /// The socket.
        path: PathBuf,
        /// What came.
        found: String,
    },
}

/// Asks the process whose state folder this is.
pub async fn fetch_status(state_dir: &Path) -> Result<Status, AskFault> {
    let path = state_dir.join(SOCKET_NAME);
    let stream =
        UnixStream::connect(&path).await.map_err(|source| AskFault::NotRunning { path: path.clone(), source })?;
    match tokio::time::timeout(PATIENCE, ask(stream)).await {
        Ok(Ok(status)) => Ok(status),
        Ok(Err(found)) => Err(AskFault::Unexpected { path, found }),
        Err(_) => Err(AskFault::Silent(path)),
    }
}

/// The error is what was found in place of a status.
async fn ask(stream: UnixStream) -> Result<Status, String> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| error.to_string())?;
    let request = Request::get("/api/v1/status")
        .header("host", "switchyard")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("HTTP {}", response.status()));
        }
        let body =
            Limited::new(response.into_body(), ANSWER_BYTES).collect().await.map_err(|error| error.to_string())?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| error.to_string())
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
