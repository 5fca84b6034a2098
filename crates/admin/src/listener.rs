//! The API and the page over TCP, for whoever [`Auth`] knows. On a runtime of its own: nothing here is on the way of a
//! call, and whoever is slow waits for himself alone.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router, middleware};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep};

use crate::api::{self, Api};
use crate::auth::Auth;
use crate::gate::{self, Gate};
use crate::limits::{CONNECTIONS_MAX, HEAD_BYTES_MAX, HEADER_TIME_MAX, STALL_TIME_MAX};
use crate::login;
use crate::page;

/// How long nobody is let in after the system would not give us a connection.
const BREATH: Duration = Duration::from_millis(100);

/// Everything that is served: the API, sessions, the page.
pub fn router(api: Arc<Api>, auth: Arc<Auth>) -> Router {
    let gate = Arc::new(Gate::new(Arc::clone(&auth)));
    let page = page::router(Arc::clone(&api)).layer(middleware::from_fn(login::for_known));
    api::routes(api)
        .layer(middleware::from_fn(gate::for_callers))
        .merge(api::session::router(Arc::clone(&auth)))
        .merge(login::router(auth))
        .fallback_service(page)
        .layer(middleware::from_fn_with_state(gate, gate::pass))
}

/// Answers until it is dropped.
pub async fn serve(listener: TcpListener, api: Arc<Api>, auth: Arc<Auth>) {
    let router = router(api, Arc::clone(&auth));
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::join!(auth.keep_fresh(), accept(listener, router, room));
}

async fn accept(listener: TcpListener, router: Router, room: Arc<Semaphore>) {
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "admin: a connection could not be taken");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            tracing::warn!(limit = CONNECTIONS_MAX, "limit connections of admin: one more was closed");
            continue;
        };
        let router = router.clone();
        tokio::spawn(async move {
            answer(stream, remote, router).await;
            drop(place);
        });
    }
}

/// One connection, to its end.
async fn answer(stream: TcpStream, remote: SocketAddr, router: Router) {
    let _as_it_is = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router.layer(Extension(ConnectInfo(remote))));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(Taken::new(stream)), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%remote, %error, "admin: a connection ended badly");
    }
}

/// A stream that fails when its other end does not take what is sent for too long.
struct Taken {
    stream: TcpStream,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Taken {
    fn new(stream: TcpStream) -> Taken {
        Taken { stream, stalled: None }
    }

    /// What a write came to; waiting too long is a fault.
    fn held<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled =
            self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + STALL_TIME_MAX)));
        match stalled.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Taken {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Taken {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.held(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.held(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
