//! The API over a real socket.

mod stage;

use admin::{AskFault, BindFault, SOCKET_NAME, bind, fetch_status, serve};
use stage::{Stage, status};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn a_status_is_fetched_and_the_socket_belongs_to_user_and_group() {
    let stage = Stage::new(&[]).await;
    let folder = &stage.folder;
    let listener = bind(folder.path()).await.unwrap();
    let mode = std::fs::metadata(folder.path().join(SOCKET_NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, stage.api(), async {
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
