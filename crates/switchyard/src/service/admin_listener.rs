//! The API and the page over TCP, on a thread of their own: whoever is slow there, or asks much, waits for a thread that
//! no call needs.

use super::StartFault;
use admin::{Api, Auth, AuthSettings};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::oneshot;

/// How far it stands back from what serves calls, where both want one core: as a nice value.
const STANDS_BACK: i32 = 10;

/// The listener's socket, before anybody is answered.
pub(super) struct AdminListener {
    settings: AuthSettings,
    socket: std::net::TcpListener,
}

/// Answering, until it is dropped.
pub(super) struct Serving {
    _ends: oneshot::Sender<()>,
}

impl AdminListener {
    /// Takes the address. Beyond loopback it must be possible to know who asks.
    pub(super) fn bind(settings: AuthSettings, state_dir: &Path) -> Result<AdminListener, StartFault> {
        let address = settings.listen;
        if !address.ip().is_loopback() && !Auth::knows_anybody(&settings, state_dir) {
            return Err(StartFault::Admin(io::Error::other(format!(
                "found {address}, which is not of loopback, and nobody who could log in; expected a token first \
                 (switchyard token add NAME --role ROLE) or a table admin.access"
            ))));
        }
        let fault = |error: io::Error| StartFault::Admin(io::Error::new(error.kind(), format!("{address}: {error}")));
        let socket = std::net::TcpListener::bind(address).map_err(fault)?;
        socket.set_nonblocking(true).map_err(fault)?;
        Ok(AdminListener { settings, socket })
    }

    /// Answers from now on.
    pub(super) fn start(self, api: Arc<Api>) -> Result<Serving, StartFault> {
        let AdminListener { settings, socket } = self;
        let address = settings.listen;
        let auth = Arc::new(Auth::new(settings, Arc::clone(&api.tokens)).map_err(StartFault::Admin)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartFault::Admin)?;
        let (ends, ended) = oneshot::channel();
        let serve = async move {
            let listener = match tokio::net::TcpListener::from_std(socket) {
                Ok(listener) => listener,
                Err(error) => return tracing::error!(%error, "the admin listener is closed"),
            };
            tracing::info!(%address, "admin is served");
            tokio::select! {
                () = admin::listener::serve(listener, api, auth) => {}
                _ended = ended => {}
            }
        };
        let thread = std::thread::Builder::new().name("admin".to_owned());
        let work = move || {
            // Of this thread alone, and of those that it starts for slow work.
            if let Err(error) = rustix::process::setpriority_process(None, STANDS_BACK) {
                tracing::warn!(%error, "the admin listener does not stand back from calls");
            }
            runtime.block_on(serve);
        };
        thread.spawn(work).map_err(StartFault::Worker)?;
        Ok(Serving { _ends: ends })
    }
}
