//! The running process's side of the API.

use crate::access::Caller;
use crate::api::{self, Api};
use crate::problem::{Kind, Problem};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use std::fs::Permissions;
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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

/// Who is at the other end of a connection, as the kernel says: user and group.
#[derive(Clone, Copy, Debug)]
struct Peer(Option<(u32, u32)>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Peer {
        Peer(stream.io().peer_cred().ok().map(|peer| (peer.uid(), peer.gid())))
    }
}

/// Answers until `ended` resolves.
pub async fn serve(
    listener: UnixListener,
    api: Arc<Api>,
    ended: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = api::router(api).layer(middleware::from_fn(admit));
    axum::serve(listener, router.into_make_service_with_connect_info::<Peer>()).with_graceful_shutdown(ended).await
}

/// Puts the [`Caller`] into the request.
async fn admit(ConnectInfo(peer): ConnectInfo<Peer>, mut request: Request, next: Next) -> Response {
    let Peer(Some((user, group))) = peer else {
        return Problem::new(Kind::Forbidden, "the system does not say who is at the other end").into_response();
    };
    // The user database may be somewhere else, and slow.
    match tokio::task::spawn_blocking(move || Caller::at_socket(user, group)).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => Problem::new(Kind::Internal, error.to_string()).into_response(),
    }
}
