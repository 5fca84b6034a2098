//! The running process's side of the API.

use crate::status::Status;
use axum::routing::get;
use axum::{Json, Router};
use std::fs::Permissions;
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// The socket's name in the state folder.
pub const SOCKET_NAME: &str = "switchyard.sock";

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BindFault {
    /// A process answers on this socket: two cannot share one state folder.
    #[error("{}: another switchyard answers on this socket; stop it, or give this one a state_dir of its own", .0.display())]
    InUse(PathBuf),
    /// The socket cannot be made.
    #[error("{}: the status socket cannot be made: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Makes the socket in `state_dir`, with mode 0660. One that a process left behind when it died is replaced.
pub async fn bind(state_dir: &Path) -> Result<UnixListener, BindFault> {
    let path = state_dir.join(SOCKET_NAME);
    let fault = |source| BindFault::Io { path: path.clone(), source };
    if UnixStream::connect(&path).await.is_ok() {
        return Err(BindFault::InUse(path));
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fault(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(fault)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o660)).map_err(fault)?;
    Ok(listener)
}

/// Answers until `ended` resolves. `status` is asked for each request.
pub async fn serve(
    listener: UnixListener,
    status: impl Fn() -> Status + Clone + Send + Sync + 'static,
    ended: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let answer = move || {
        let status = status();
        async move { Json(status) }
    };
    let router = Router::new().route("/api/v1/status", get(answer));
    axum::serve(listener, router).with_graceful_shutdown(ended).await
}
