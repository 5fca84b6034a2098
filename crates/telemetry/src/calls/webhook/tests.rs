use super::*;
use crate::calls::queue;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// One request that a server of the test got.
struct Got {
    head: String,
    ids: Vec<String>,
}

/// A small HTTP server: answers with these statuses one after the other, and with the last one from then on. 0 is silence
/// until the other side gives up.
fn server(statuses: &'static [u16]) -> (SocketAddr, Receiver<Got>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (got, gets) = channel();
    let thread = std::thread::spawn(move || {
        for (at, stream) in listener.incoming().enumerate() {
            let status = statuses.get(at).or(statuses.last()).copied().unwrap_or(200);
            if !answer(stream.unwrap(), status, &got) {
                return;
            }
        }
    });
    (address, gets, thread)
}

/// False when nobody waits for what was got.
fn answer(mut stream: TcpStream, status: u16, got: &Sender<Got>) -> bool {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap() == 0 {
            return true;
        }
    }
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    if status != 0 {
        write!(stream, "HTTP/1.1 {status} Status\r\nContent-Length: 0\r\n\r\n").unwrap();
    }
    let records: Vec<CallRecord> = serde_json::from_slice(&body).unwrap();
    got.send(Got { head, ids: records.iter().map(|record| record.id.to_string()).collect() }).is_ok()
}

fn webhook(folder: &Path, address: SocketAddr, spool_bytes_max: u64) -> Webhook {
    let url = Url::parse(&format!("http://{address}/calls?token=word")).unwrap();
    Webhook::open(WebhookSettings { url, spool: folder.join("webhook"), spool_bytes_max }).unwrap()
}

fn record(id: usize) -> Arc<CallRecord> {
    Arc::new(CallRecord { id: id.to_string().into(), ..CallRecord::default() })
}

fn wait_for(what: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !what() {
        assert!(Instant::now() < until, "it did not come about");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn records_are_posted_and_a_server_that_fails_gets_the_same_batch_again() {
    let folder = tempfile::tempdir().unwrap();
    let (address, gets, _thread) = server(&[500, 429, 200]);
    let mut working = queue::start(Box::new(webhook(folder.path(), address, 1 << 20))).unwrap();
    (0..3).for_each(|id| working.queue.put(&[record(id)]));
    let got: Vec<Got> = (0..3).map(|_| gets.recv_timeout(Duration::from_secs(30)).unwrap()).collect();
    let key = |got: &Got| got.head.lines().find(|line| line.starts_with("Idempotency-Key: ")).unwrap().to_owned();
    assert!(got.iter().all(|again| again.ids == got[0].ids && key(again) == key(&got[0])));
    assert!(got[0].head.starts_with("POST /calls?token=word HTTP/1.1\r\n"), "{}", got[0].head);
    let queue = Arc::clone(&working.queue);
    wait_for(|| queue.counts().waiting == 0);
    working.end();
    let counts = working.queue.counts();
    assert_eq!((counts.written, counts.lost, counts.failures), (3, 0, 2));
    assert_eq!(std::fs::read_dir(folder.path().join("webhook")).unwrap().count(), 0, "the spool is empty");
}

/// Nobody listens, the process ends, and the next one delivers.
#[test]
fn what_a_dead_server_did_not_take_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut working = queue::start(Box::new(webhook(folder.path(), unused, 1 << 20))).unwrap();
    (0..5).for_each(|id| working.queue.put(&[record(id)]));
    let queue = Arc::clone(&working.queue);
    wait_for(|| queue.counts().written == 5);
    working.end();
    assert_eq!((queue.counts().lost, queue.counts().waiting), (0, 5));
    let (address, gets, _thread) = server(&[200]);
    let mut next = queue::start(Box::new(webhook(folder.path(), address, 1 << 20))).unwrap();
    let mut ids = Vec::new();
    while ids.len() < 5 {
        ids.extend(gets.recv_timeout(Duration::from_secs(30)).unwrap().ids);
    }
    assert_eq!(ids, ["0", "1", "2", "3", "4"]);
    next.end();
}

/// The bound is kept, the oldest stay, and what does not fit is an error for whoever holds it.
#[test]
fn a_spool_takes_so_many_bytes_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut webhook = webhook(folder.path(), unused, 2_000);
    let fit = (0..100).take_while(|id| webhook.write(&[record(*id)]).is_ok()).count();
    assert!((2..100).contains(&fit), "{fit}");
    let bytes: u64 =
        std::fs::read_dir(folder.path().join("webhook")).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= 2_000, "{bytes}");
    assert_eq!(webhook.held().waiting, u64::try_from(fit).unwrap());
}

#[test]
fn a_body_that_is_never_taken_does_not_stop_what_waits_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let (address, gets, _thread) = server(&[422, 200]);
    let mut webhook = webhook(folder.path(), address, 1 << 20);
    webhook.write(&[record(1)]).unwrap();
    webhook.write(&[record(2)]).unwrap();
    assert!(webhook.tend() && !webhook.tend());
    // The server answers before it tells what it got.
    let ids: Vec<_> = (0..2).flat_map(|_| gets.recv_timeout(Duration::from_secs(30)).unwrap().ids).collect();
    let held = webhook.held();
    assert_eq!((ids, held.waiting, held.given_up), (vec!["1".to_owned(), "2".to_owned()], 0, 1));
    assert!(gets.try_recv().is_err(), "each is posted once");
}

/// Over https to a server whose certificate is believed, and not to one whose is not.
#[test]
fn https_is_spoken_with_who_can_prove_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let (key, certificate) = (folder.path().join("key.pem"), folder.path().join("certificate.pem"));
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let certificate = CertificateDer::from_pem_file(&certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], PrivateKeyDer::from_pem_file(&key).unwrap())
        .unwrap();
    let server = Arc::new(server);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("https://localhost:{}/calls", listener.local_addr().unwrap().port())).unwrap();
    let serving = std::thread::spawn(move || {
        let mut heads = Vec::new();
        for stream in listener.incoming().take(2) {
            let connection = rustls::ServerConnection::new(Arc::clone(&server)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
            let mut request = [0; 4_096];
            // Who does not believe us ends the handshake.
            if let Ok(read) = stream.read(&mut request) {
                heads.push(String::from_utf8_lossy(request.get(..read).unwrap()).into_owned());
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
                stream.flush().unwrap();
            }
        }
        heads
    });
    let stranger = Poster::believing(url.clone(), rustls::RootCertStore::empty()).unwrap();
    let fault = stranger.post("key", b"[]").unwrap_err();
    assert!(fault.contains("certificate") && !fault.contains("/calls"), "{fault}");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    assert_eq!(Poster::believing(url, roots).unwrap().post("key", b"[]"), Ok(204));
    let heads = serving.join().unwrap();
    assert!(heads.len() == 1 && heads.iter().all(|head| head.starts_with("POST /calls HTTP/1.1\r\n")), "{heads:?}");
}
