//! The pages, as a browser gets them: what they show to whom, and that nothing in the data becomes markup.
#![expect(clippy::unwrap_used, reason = "the lint's leave for tests does not reach the functions they share")]

mod stage;

use admin::page::Session;
use admin::{Caller, Role};
use stage::Stage;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PAGES: [&str; 8] = [
    "/admin",
    "/admin/dids",
    "/admin/calls",
    "/admin/peers",
    "/admin/generations",
    "/admin/faults",
    "/admin/testers",
    "/admin/audit",
];

/// The pages for someone with this role.
async fn serve(stage: &Stage, role: Role, masks_numbers: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let caller = Caller::new("meera", role);
    let session = Session { csrf: "the-token".to_owned(), masks_numbers };
    let router = admin::page::router(stage.api()).layer(axum::Extension(caller)).layer(axum::Extension(session));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

async fn ask(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// The whole answer, head and body.
async fn fetch(address: SocketAddr, path: &str) -> String {
    let mut answer = Vec::new();
    ask(address, path).await.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

fn rows(page: &str) -> usize {
    page.matches("<tr data-number=").count()
}

#[tokio::test]
async fn every_page_is_there_for_everyone_and_has_nothing_inline() {
    let stage = Stage::migrated().await;
    for role in [Role::Viewer, Role::Operator, Role::Admin] {
        let address = serve(&stage, role, false).await;
        for path in PAGES {
            let page = fetch(address, path).await;
            assert!(page.starts_with("HTTP/1.1 200 "), "{path}: {page}");
            assert!(page.contains("aria-current=\"page\""), "{path} is in no section");
            for inline in ["<style", " style=", " onclick", " onsubmit", "javascript:", "<script>"] {
                assert!(!page.contains(inline), "{path} has {inline}, which the policy forbids");
            }
        }
        assert!(fetch(address, "/admin/nonsense").await.starts_with("HTTP/1.1 404 "));
    }
}

#[tokio::test]
async fn a_number_is_found_by_each_spelling_and_filters_narrow() {
    let stage = Stage::new(&[]).await;
    let address = serve(&stage, Role::Operator, false).await;
    assert_eq!(rows(&fetch(address, "/admin/dids").await), 55);
    for spelling in ["%2B918065978002", "918065978002", "08065978002", "%2B91+80-6597+8002"] {
        let page = fetch(address, &format!("/admin/dids?search={spelling}&environment=&service=")).await;
        assert_eq!(rows(&page), 1, "{spelling}");
        assert!(page.contains("data-number=\"+918065978002\""), "{spelling}: {page}");
    }
    let staging = fetch(address, "/admin/dids?environment=staging").await;
    assert!(rows(&staging) > 0 && !staging.contains("data-environment=\"prod\""));
    assert!(fetch(address, "/admin/dids?search=no+such").await.contains("No number fits."));
    assert!(fetch(address, "/admin/dids?environment=moon").await.starts_with("HTTP/1.1 400 "));
}

/// Each column of the numbers says what it is about, in words beside every colour.
#[tokio::test]
async fn a_number_s_row_says_all_that_is_known_of_it() {
    let bad = "UPDATE did_numbers SET routing_environment = 'moon' WHERE number LIKE '%8065978003';";
    let stage = Stage::migrated().await;
    stage.write(bad).await;
    let address = serve(&stage, Role::Operator, false).await;
    let page = fetch(address, "/admin/dids").await;
    for column in ["Number", "Organisation", "Calls land in", "Because of", "Service", "Calls now", "Last call"] {
        assert!(page.contains(&format!("<th scope=\"col\">{column}</th>")), "{column}");
    }
    let row = |last: &str| {
        let all = page.split("<tr data-number=\"").skip(1).map(|row| row.split("</tr>").next().unwrap());
        all.into_iter().find(|row| row.starts_with(last)).unwrap().to_owned()
    };
    let said = |number: &str, words: &[&str]| {
        let row = row(number);
        words.iter().for_each(|words| assert!(row.contains(words), "{words}: {row}"));
    };
    said("+918065978001", &["Asha Clinics", ">default</span>", "\"environment prod\">prod<", ">in service<", "row"]);
    said("+918065978002", &["data-cell=\"live\"><strong>1 in oss, 2 in prod</strong>", "data-cell=\"last\">none"]);
    said("+918065978003", &["last good value", "data-cell=\"live\">none"]);
    said("+918065978015", &["not active: inactive"]);
    said("+918065978018", &["not assigned: available", "<td data-label=\"Organisation\">none</td>"]);
    said("+918065978020", &["organisation not active"]);
    assert!(!row("+918065978002").contains(">default<"));
    let faults = fetch(address, "/admin/faults").await;
    assert!(faults.contains("moon") && faults.contains("1 value that"), "{faults}");
}

#[tokio::test]
async fn what_lies_between_two_generations_is_shown() {
    let stage = Stage::migrated().await;
    let address = serve(&stage, Role::Viewer, false).await;
    let before = stage.watcher.published().load().generation().0;
    stage.write("UPDATE did_numbers SET routing_environment = 'oss' WHERE number LIKE '%8065978004';").await;
    let after = stage.watcher.published().load().generation().0;
    let page = fetch(address, &format!("/admin/generations?from={before}&to={after}")).await;
    assert!(page.contains("<code>+918065978004</code>") && page.contains("prod, active, assigned"), "{page}");
    assert!(page.contains("oss, active, assigned"), "{page}");
    let page = fetch(address, "/admin/generations?from=1&to=700").await;
    assert!(page.contains("role=\"alert\""), "{page}");
}

/// Who sees numbers in part is told of changes, and of no call by its whole number.
#[tokio::test]
async fn an_open_page_hears_at_once_of_a_change_that_came_before_it_listened() {
    let stage = Stage::migrated().await;
    let address = serve(&stage, Role::Viewer, true).await;
    stage.write("UPDATE did_numbers SET routing_environment = 'oss' WHERE number LIKE '%8065978004';").await;
    for path in ["/admin/events", "/admin/dids/events", "/admin/calls/events?number=&peer=prod"] {
        let sign = if path.contains('?') { '&' } else { '?' };
        let mut events = ask(address, &format!("{path}{sign}generation=1")).await;
        let heard = async {
            let (mut text, mut slot) = (String::new(), [0; 1_024]);
            while !text.contains("event: changed") {
                let length = events.read(&mut slot).await.unwrap();
                assert_ne!(length, 0, "{path} ended: {text}");
                text.push_str(&String::from_utf8_lossy(&slot[..length]));
            }
        };
        tokio::time::timeout(Duration::from_secs(10), heard).await.unwrap();
    }
    let refused = fetch(address, "/admin/calls/events?number=1").await;
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
}

#[tokio::test]
async fn a_viewer_has_no_way_to_change_anything_and_sees_numbers_in_part() {
    let stage = Stage::migrated().await;
    let address = serve(&stage, Role::Viewer, true).await;
    for path in PAGES {
        let page = fetch(address, path).await;
        for way in ["data-write", "data-move", "data-open"] {
            assert!(!page.contains(way), "{path} has {way}");
        }
        assert!(!page.contains("918065978002"), "{path} shows a whole number");
    }
    assert!(fetch(address, "/admin/dids?search=08065978002").await.contains("+9180659780**"));
    let operator = fetch(serve(&stage, Role::Operator, false).await, "/admin").await;
    assert!(!operator.contains("/api/v1/panic"), "panic is for admins");
    let admin = fetch(serve(&stage, Role::Admin, false).await, "/admin").await;
    assert!(admin.contains("data-write=\"PUT\" data-path=\"/api/v1/panic\"") && admin.contains("the-token"));
}

#[tokio::test]
async fn nothing_in_the_data_becomes_markup() {
    let dirt = "UPDATE organizations SET name = '<script>alert(1)</script>\"''&';
                UPDATE did_numbers SET routing_environment = '<img src=x>' WHERE number LIKE '%8065978003';";
    let stage = Stage::new(&[dirt]).await;
    let address = serve(&stage, Role::Operator, false).await;
    for path in
        ["/admin/dids", "/admin/faults", "/admin/dids?search=%3Cscript%3E", "/admin/generations?from=%3Cb%3E&to=1"]
    {
        let page = fetch(address, path).await;
        assert!(!page.contains("<script>") && !page.contains("<img") && !page.contains("<b>"), "{path}: {page}");
    }
    assert!(fetch(address, "/admin/dids").await.contains("&#60;script&#62;alert(1)"));
}

#[tokio::test]
async fn assets_are_kept_under_names_of_their_content() {
    let stage = Stage::new(&[]).await;
    let address = serve(&stage, Role::Viewer, false).await;
    let page = fetch(address, "/admin").await;
    let names = page.split("/admin/assets/").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
    let names: Vec<String> = names.collect();
    assert_eq!(names.len(), 2, "{names:?}");
    for name in names {
        let asset = fetch(address, &format!("/admin/assets/{name}")).await;
        assert!(asset.starts_with("HTTP/1.1 200 ") && asset.contains("immutable"), "{name}: {asset}");
    }
    assert!(fetch(address, "/admin/assets/page.js").await.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn an_open_page_hears_of_others_changes() {
    let stage = Stage::migrated().await;
    let address = serve(&stage, Role::Viewer, false).await;
    let mut events = ask(address, "/admin/events").await;
    let mut slot = [0; 1_024];
    let head = events.read(&mut slot).await.unwrap();
    assert!(String::from_utf8_lossy(&slot[..head]).contains("text/event-stream"));
    stage.write("UPDATE did_numbers SET routing_environment = 'oss' WHERE number LIKE '%8065978004';").await;
    let heard = async {
        let mut text = String::new();
        while !text.contains("changed") {
            let length = events.read(&mut slot).await.unwrap();
            assert_ne!(length, 0, "the stream ended: {text}");
            text.push_str(&String::from_utf8_lossy(&slot[..length]));
        }
    };
    tokio::time::timeout(Duration::from_secs(10), heard).await.unwrap();
}
