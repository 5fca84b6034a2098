//! One connection's task: it waits for what its line does not find by itself.

use super::WRITE_WITHIN;
use super::hub::Hub;
use super::line::{BROKEN, Line, REFUSED};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// How long what a refused peer still sends is read away.
const DRAIN_WITHIN: Duration = Duration::from_secs(1);

/// Opens a connection from `local` and serves it. Until it is open, messages wait in their queue.
pub(super) async fn dial(hub: Rc<Hub>, line: Rc<Line>, local: Option<IpAddr>, within: Duration) {
    match timeout(within, connect(line.flow.remote, local)).await {
        Ok(Ok(stream)) => serve(hub, line, stream).await,
        failed => {
            hub.leave_out(&line, if failed.is_err() { "connect_timeout" } else { "connect_refused" });
            line.cut();
            line.give_back(&hub);
        }
    }
}

async fn connect(remote: SocketAddr, local: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let socket = super::socket(remote)?;
    if let Some(local) = local {
        // A port of the kernel's choice: the listener's own port belongs to what comes in.
        socket.bind(&SocketAddr::new(local, 0).into())?;
    }
    TcpSocket::from_std_stream(socket.into()).connect(remote).await
}

/// Serves an open connection until one side ends it.
pub(super) async fn serve(hub: Rc<Hub>, line: Rc<Line>, stream: TcpStream) {
    let _left_out = LeftOut { hub: &hub, line: &line };
    let stream = line.open(stream);
    line.write(&hub);
    let reason = wait(&hub, &line, stream).await;
    if reason == REFUSED {
        // What came before is still answered here. Closed with bytes that nobody read, the kernel would send a reset, and
        // the answers might be lost.
        hub.lead_past(&line);
        let _drained = timeout(DRAIN_WITHIN, drain(&hub, stream)).await;
    }
    hub.leave_out(&line, reason);
    // Nobody queues any more. A peer that has ended its side may still read, as long as it takes each message in its time.
    loop {
        let by = line.written_by().unwrap_or_else(|| Instant::now() + WRITE_WITHIN);
        if timeout_at(by, line.write_all(&hub)).await.is_ok() {
            break;
        }
        line.expire();
    }
    line.give_back(&hub);
}

/// However a connection's task ends, by a panic too, its number leads nowhere afterwards: else messages would be written to
/// a connection that nobody reads.
struct LeftOut<'a> {
    hub: &'a Hub,
    line: &'a Rc<Line>,
}

impl Drop for LeftOut<'_> {
    fn drop(&mut self) {
        self.hub.leave_out(self.line, BROKEN);
    }
}

/// Waits, reads and writes until the connection is over, and tells why it is.
async fn wait(hub: &Hub, line: &Rc<Line>, stream: &TcpStream) -> &'static str {
    let mut armed = line.deadline();
    let timer = sleep_until(armed);
    tokio::pin!(timer);
    loop {
        if let Some(reason) = line.ended() {
            return reason;
        }
        let due = line.deadline();
        // A timer that is set anew costs, one that comes too early costs a look: so it is only set earlier.
        if due < armed || timer.is_elapsed() {
            timer.as_mut().reset(due);
            armed = due;
        }
        let interest = line.interest();
        tokio::select! {
            biased;
            () = line.news() => {}
            ready = stream.ready(interest.unwrap_or(Interest::READABLE)), if interest.is_some() => match ready {
                Ok(ready) => {
                    if ready.is_writable() {
                        line.write(hub);
                    }
                    if ready.is_readable() && line.read_told(hub) {
                        // A peer that has more to say than one read takes lets the others have their turn.
                        tokio::task::yield_now().await;
                    }
                }
                Err(_) => line.end(BROKEN),
            },
            () = line.pass_held(hub) => {}
            () = &mut timer => line.expire(),
        }
    }
}

/// Reads and forgets, until the peer has ended its side.
async fn drain(hub: &Hub, stream: &TcpStream) {
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut hub.buffer()) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
