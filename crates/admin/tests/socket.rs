//! The API over a real socket.

use admin::{AskFault, BindFault, DirectoryStatus, SOCKET_NAME, Status, bind, fetch_status, serve};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

fn status() -> Status {
    Status {
        version: "1.2.3".into(),
        environment: "staging".into(),
        uptime_s: 5,
        draining: true,
        open_transactions: 9,
        directory: DirectoryStatus {
            loaded: false,
            generation: 0,
            dids: 0,
            faults: 0,
            table_age_s: None,
            trouble: None,
            degraded: false,
            from_snapshot: false,
            source: String::new(),
            detection: String::new(),
            held: vec![],
            snapshot_trouble: None,
        },
        listeners: vec![],
        parties: vec![],
        counters: vec![],
    }
}

#[tokio::test]
async fn a_status_is_fetched_and_the_socket_belongs_to_user_and_group() {
    let folder = tempfile::tempdir().unwrap();
    let listener = bind(folder.path()).await.unwrap();
    let mode = std::fs::metadata(folder.path().join(SOCKET_NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, status, async {
        ended.await.ok();
    }));
    assert_eq!(fetch_status(folder.path()).await.unwrap(), status());
    // A second process must not take the socket away.
    assert!(matches!(bind(folder.path()).await, Err(BindFault::InUse(_))));
    end.send(()).unwrap();
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_socket_that_a_dead_process_left_behind_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    drop(std::os::unix::net::UnixListener::bind(folder.path().join(SOCKET_NAME)).unwrap());
    let fault = fetch_status(folder.path()).await.unwrap_err();
    assert!(matches!(fault, AskFault::NotRunning { .. }), "{fault}");
    bind(folder.path()).await.unwrap();
}

#[tokio::test]
async fn something_else_on_the_socket_is_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let other = std::os::unix::net::UnixListener::bind(folder.path().join(SOCKET_NAME)).unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        stream.write_all(b"220 mail.example.com ESMTP\r\n").unwrap();
    });
    let fault = fetch_status(folder.path()).await.unwrap_err();
    assert!(matches!(fault, AskFault::Unexpected { .. }), "{fault}");
    answering.join().unwrap();
}
