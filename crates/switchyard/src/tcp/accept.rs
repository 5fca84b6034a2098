//! Taking connections in: who may have one, and from which interface it comes.

use super::hub::Hub;
use super::socket;
use nix::errno::Errno;
use proxy::{InterfaceId, ListenerId};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// Connections that the kernel completes before we take them.
const BACKLOG: i32 = 1_024;
/// How long nothing is accepted when the process has no file descriptor left.
const PAUSE: Duration = Duration::from_millis(100);
/// How often interfaces are looked for: a tunnel may come, go, and come back with another number.
const INTERFACES_EVERY: Duration = Duration::from_secs(3);

/// Binds `address` for listening; with a `device`, for what arrives there alone.
///
/// TCP tells nobody where a connection arrived, but the kernel prefers a socket that is bound to the device: so the
/// socket that accepts says it. Sockets of one address share their port for that.
pub(super) fn open(address: SocketAddr, device: Option<&str>) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    socket.set_reuse_address(true)?;
    if let Some(device) = device {
        socket.set_reuse_port(true)?;
        socket.bind_device(Some(device.as_bytes()))?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Lets later sockets of this one's port be bound to devices.
pub(super) fn share_port(listener: &TcpListener) -> io::Result<()> {
    socket2::SockRef::from(listener).set_reuse_port(true)
}

/// Accepts on `listener` for ever. What arrives has come by `interface`.
pub(super) async fn accept(hub: Rc<Hub>, id: ListenerId, interface: InterfaceId, listener: TcpListener) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a TCP listener cannot be served"),
    };
    let mut reserve = File::open("/dev/null").ok();
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                let interface = arrival(&hub, interface, remote, &stream);
                hub.accepted(id, interface, remote, stream);
                // Whoever connects again and again takes one look at the sockets each time: calls go on beside.
                tokio::task::yield_now().await;
            }
            Err(error) if is_exhausted(&error) => {
                // Row SX10: with the reserve given up for a moment, the connection that waits can be taken and closed;
                // else it would be reported again and again.
                drop(reserve.take());
                let refused = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
                drop(refused);
                hub.closed("no_descriptor");
                reserve = File::open("/dev/null").ok();
                tokio::time::sleep(PAUSE).await;
            }
            // A connection that was gone before it was taken.
            Err(_) => {}
        }
    }
}

/// The interface that a connection came by: the listener's, unless this machine connects to itself.
fn arrival(hub: &Hub, of_listener: InterfaceId, remote: SocketAddr, stream: &TcpStream) -> InterfaceId {
    let interfaces = hub.interfaces();
    let Ok(own) = stream.local_addr() else { return of_listener };
    interfaces.of_arrival(interfaces.index(of_listener).unwrap_or_default(), remote.ip(), own.ip())
}

fn is_exhausted(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM))
}

/// Keeps one socket for each listener and each interface that a peer is tied to, as long as the interface is there.
pub(super) async fn follow_interfaces(hub: Rc<Hub>, listeners: Vec<(ListenerId, SocketAddr)>) {
    let mut bound: HashMap<(ListenerId, InterfaceId), (u32, AbortHandle)> = HashMap::new();
    let mut every = tokio::time::interval(INTERFACES_EVERY);
    loop {
        every.tick().await;
        let names = hub.settings().interfaces.clone();
        let there = hub.interfaces();
        bound.retain(|(_, interface), (index, task)| {
            let is_there = there.index(*interface) == Some(*index);
            if !is_there {
                task.abort();
            }
            is_there
        });
        for (id, address) in &listeners {
            for (interface, name) in (1..=u16::MAX).map(InterfaceId).zip(&names) {
                let Some(index) = there.index(interface) else { continue };
                if bound.contains_key(&(*id, interface)) {
                    continue;
                }
                match open(*address, Some(name)) {
                    Ok(listener) => {
                        let task = tokio::task::spawn_local(accept(Rc::clone(&hub), *id, interface, listener));
                        bound.insert((*id, interface), (index, task.abort_handle()));
                    }
                    Err(error) => tracing::warn!(%address, interface = %name, %error, "cannot listen on the interface"),
                }
            }
        }
    }
}
