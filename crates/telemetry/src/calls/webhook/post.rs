//! One POST over HTTP/1.1, by http or https, within a time. The connection is not kept: calls end one at a time, and
//! records are posted together.

use super::url::Url;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a whole POST may take, and how long a read or write may.
const POST_WITHIN: Duration = Duration::from_secs(15);
/// The most of an answer that is looked at: its status line stands first.
const ANSWER_BYTES: usize = 1_024;

/// Whoever posts.
pub(super) struct Poster {
    url: Url,
    tls: Option<Arc<ClientConfig>>,
}

impl Poster {
    /// For https the system's certificates are read.
    pub(super) fn new(url: Url) -> io::Result<Poster> {
        let tls = url.is_https.then(|| client_config(system_roots())).transpose()?;
        Ok(Poster { url, tls })
    }

    /// For https these certificates are believed.
    #[cfg(test)]
    pub(super) fn believing(url: Url, roots: RootCertStore) -> io::Result<Poster> {
        Ok(Poster { url, tls: Some(client_config(roots)?) })
    }

    /// Posts a body; the answer's status.
    pub(super) fn post(&self, key: &str, body: &[u8]) -> Result<u16, String> {
        let deadline = Instant::now() + POST_WITHIN;
        let stream = self.connect().map_err(|error| format!("{}: {error}", self.url))?;
        let status = match &self.tls {
            None => exchange(stream, &self.head(key, body.len()), body, deadline),
            Some(tls) => {
                let name = ServerName::try_from(self.url.host.clone()).map_err(|error| error.to_string())?;
                let connection = ClientConnection::new(Arc::clone(tls), name).map_err(|error| error.to_string())?;
                exchange(StreamOwned::new(connection, stream), &self.head(key, body.len()), body, deadline)
            }
        };
        status.map_err(|error| format!("{}: {error}", self.url))
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (&*self.url.host, self.url.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(POST_WITHIN))?;
                    stream.set_write_timeout(Some(POST_WITHIN))?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn head(&self, key: &str, length: usize) -> String {
        let Url { host, port, target, .. } = &self.url;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        format!(
            "POST {target} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: switchyard/{}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\nIdempotency-Key: {key}\r\n\
             Connection: close\r\n\r\n",
            env!("CARGO_PKG_VERSION")
        )
    }
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // One that cannot be read is no reason to believe less of the others.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn client_config(roots: RootCertStore) -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

/// Writes the request and reads the answer's status.
fn exchange(mut stream: impl Read + Write, head: &str, body: &[u8], deadline: Instant) -> io::Result<u16> {
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    stream.flush()?;
    let mut answer = Vec::new();
    let mut part = [0; ANSWER_BYTES];
    while !answer.contains(&b'\n') {
        if Instant::now() > deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
        }
        let read = stream.read(&mut part)?;
        if read == 0 || answer.len() >= ANSWER_BYTES {
            break;
        }
        answer.extend_from_slice(part.get(..read).unwrap_or_default());
    }
    let line = String::from_utf8_lossy(&answer);
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
    status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP"))
}
