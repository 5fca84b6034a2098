//! Who may over the listener, and what it takes on: the real one, over TCP.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the lint's leave for tests does not reach the functions they share"
)]

mod house;
mod stage;

use admin::limits::{CONNECTIONS_MAX, EVENT_STREAMS_MAX, FAILED_LOGINS_MAX, HEAD_BYTES_MAX, REQUESTS_AT_ONCE};
use admin::{AuthSettings, NewToken, Numbers, Role};
use house::{Answer, House, PATIENCE, now_s, settings};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const DID: &str = "/api/v1/dids/+918065978002";
const ENVIRONMENT: &str = "/api/v1/dids/+918065978002/environment";
const MOVE: &str = r#"{"environment":"staging","for_s":600,"reason":"a test"}"#;

/// A session's cookie, and what its writes must say.
async fn log_in(house: &House, token: &str) -> (String, String) {
    let answer = house.ask("POST", "/api/v1/session", &[], &format!("{{\"token\":\"{token}\"}}")).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let cookie = answer.header("set-cookie").unwrap();
    for attribute in ["Path=/", "HttpOnly", "SameSite=Strict", "Max-Age=3600"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let cookie = format!("Cookie: other=1; {}", cookie.split(';').next().unwrap());
    (cookie, format!("X-Csrf-Token: {}", answer.json()["csrf"].as_str().unwrap()))
}

async fn moved(house: &House, lines: &[&str]) -> Answer {
    house.ask("PUT", ENVIRONMENT, &[lines, &["If-Match: *"]].concat(), MOVE).await
}

#[tokio::test]
async fn sx19_whoever_shows_nothing_or_what_is_wrong_is_refused() {
    let house = House::open(settings()).await;
    for (method, path) in [("GET", DID), ("GET", "/api/v1/status"), ("PUT", ENVIRONMENT), ("GET", "/api/v1/nothing")] {
        let answer = house.ask(method, path, &[], "").await;
        assert_eq!((answer.status, answer.problem().as_str()), (401, "unauthenticated"), "{answer:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"switchyard\""));
    }
    let good = house.token("meera", Role::Operator);
    for wrong in [
        "Bearer swy_0000000000000000000000000000000000000000000",
        "Bearer",
        &format!("Basic {good}"),
        &format!("Bearer {}", &good[..good.len() - 1]),
    ] {
        let answer = house.ask("GET", DID, &[&format!("Authorization: {wrong}")], "").await;
        assert_eq!(answer.status, 401, "{wrong}: {answer:?}");
    }
    // Whoever is not known by the page is sent to the login, which is for everybody.
    let answer = house.ask("GET", "/admin", &[], "").await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/admin/login")));
    let login = house.ask("GET", "/admin/login", &[], "").await;
    assert_eq!(login.status, 200);
    let style = login.body.split('"').find(|part| part.starts_with("/admin/assets/")).unwrap();
    assert_eq!(house.ask("GET", style, &[], "").await.status, 200);
}

#[tokio::test]
async fn a_token_may_what_its_role_may_until_it_ends_or_is_revoked_and_the_audit_says_whose_it_was() {
    let house = House::open(settings()).await;
    let viewer = house.bearer("ravi", Role::Viewer);
    assert_eq!(house.ask("GET", DID, &[&viewer], "").await.status, 200);
    assert_eq!(moved(&house, &[&viewer]).await.problem(), "forbidden");
    let operator = house.bearer("meera", Role::Operator);
    assert_eq!(moved(&house, &[&operator]).await.status, 200);
    let panic = house.ask("PUT", "/api/v1/panic", &[&operator], r#"{"reason":"a test"}"#).await;
    assert_eq!(panic.problem(), "forbidden");
    let audit = house.ask("GET", "/api/v1/audit", &[&viewer], "").await.json();
    let change = &audit["changes"][0];
    assert_eq!((&change["made_by"], &change["role"]), (&"meera".into(), &"operator".into()));
    let origin = change["origin"].as_str().unwrap();
    assert!(origin.starts_with("token ") && origin.ends_with(" from 127.0.0.1"), "{origin}");
    let sheet = house.ask("GET", "/api/v1/audit?format=csv", &[&viewer], "").await;
    let lines: Vec<&str> = sheet.body.lines().collect();
    assert_eq!(lines[0], "id,at,who,role,origin,action,subject,before,after,reason");
    assert!(lines[1].contains(",meera,operator,token "), "{}", sheet.body);
    for method in ["PUT", "POST", "DELETE", "PATCH"] {
        assert_eq!(house.ask(method, "/api/v1/audit", &[&operator], "").await.status, 405, "{method}");
    }
    let ended = NewToken { who: "asha".into(), role: Role::Admin, ends_s: Some(now_s() - 1) };
    let (_, ended) = house.tokens.add(ended, now_s() - 60).unwrap();
    assert_eq!(house.ask("GET", DID, &[&format!("Authorization: Bearer {ended}")], "").await.status, 401);
    let id = house.tokens.list().unwrap().iter().find(|token| token.who == "meera").unwrap().id.clone();
    house.tokens.revoke(&id).unwrap();
    assert_eq!(moved(&house, &[&operator]).await.status, 401);
}

#[tokio::test]
async fn a_session_is_as_good_as_its_token_and_ends_with_it() {
    let house = House::open(settings()).await;
    let token = house.token("meera", Role::Operator);
    let (cookie, csrf) = log_in(&house, &token).await;
    let session = house.ask("GET", "/api/v1/session", &[&cookie], "").await.json();
    assert_eq!((session["who"].as_str(), session["role"].as_str()), (Some("meera"), Some("operator")));
    assert_eq!(house.ask("GET", "/admin", &[&cookie], "").await.status, 200);
    assert_eq!(moved(&house, &[&cookie, &csrf]).await.status, 200);
    // Logging out ends it for whoever has a copy of the cookie.
    let out = house.ask("DELETE", "/api/v1/session", &[&cookie, &csrf], "").await;
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(house.ask("GET", DID, &[&cookie], "").await.status, 401);
    let (cookie, _) = log_in(&house, &token).await;
    let id = house.tokens.list().unwrap()[0].id.clone();
    house.tokens.revoke(&id).unwrap();
    assert_eq!(house.ask("GET", DID, &[&cookie], "").await.status, 401, "its token was revoked");
    let refused = house.ask("POST", "/api/v1/session", &[], "{\"token\":\"swy_wrong\"}").await;
    assert_eq!((refused.status, refused.header("set-cookie")), (401, None));
}

#[tokio::test]
async fn sx19_a_write_that_another_site_makes_is_refused() {
    let house = House::open(settings()).await;
    let token = house.token("meera", Role::Operator);
    let (cookie, csrf) = log_in(&house, &token).await;
    let (_, foreign) = log_in(&house, &token).await;
    assert_ne!(csrf, foreign, "each session has its own");
    let own = format!("Origin: http://{}", house.address);
    for lines in [
        vec![cookie.as_str()],
        vec![&cookie, "X-Csrf-Token: "],
        vec![&cookie, &foreign],
        vec![&cookie, &csrf, "Origin: https://evil.example.com"],
        vec![&cookie, &csrf, "Origin: null"],
        vec![&cookie, &csrf, "Sec-Fetch-Site: cross-site"],
        vec![&cookie, &csrf, "Sec-Fetch-Site: same-site"],
    ] {
        let answer = moved(&house, &lines).await;
        assert_eq!((answer.status, answer.problem().as_str()), (403, "forbidden"), "{lines:?}: {answer:?}");
    }
    assert_eq!(moved(&house, &[&cookie, &csrf, &own, "Sec-Fetch-Site: same-origin"]).await.status, 200);
    // A login that another site makes would leave somebody in the session of somebody else.
    let body = format!("{{\"token\":\"{token}\"}}");
    let login = house.ask("POST", "/api/v1/session", &["Origin: https://evil.example.com"], &body).await;
    assert_eq!(login.status, 403);
    // A token is never added by a browser: it needs nothing beside it.
    assert_eq!(moved(&house, &[&format!("Authorization: Bearer {token}")]).await.status, 200);
}

#[tokio::test]
async fn a_form_logs_in_and_behind_tls_the_cookie_is_for_tls_alone() {
    let house = House::open(AuthSettings { behind_tls: true, ..settings() }).await;
    let token = house.token("meera", Role::Viewer);
    let form = "Content-Type: application/x-www-form-urlencoded";
    let answer = house.ask("POST", "/admin/login?next=/admin/dids", &[form], &format!("token={token}")).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/admin/dids")));
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-switchyard=") && cookie.ends_with("; Secure"), "{cookie}");
    assert!(answer.header("strict-transport-security").is_some());
    let cookie = format!("Cookie: {}", cookie.split(';').next().unwrap());
    assert_eq!(house.ask("GET", DID, &[&cookie], "").await.status, 200);
    assert_eq!(house.ask("POST", "/admin/login", &[form], "token=wrong").await.status, 401);
}

#[tokio::test]
async fn sx19_only_our_own_names_are_answered() {
    let house = House::open(AuthSettings { anonymous_viewer: true, ..settings() }).await;
    let port = house.address.port();
    let bearer = house.bearer("ravi", Role::Viewer);
    let other = format!("Host: evil.example.com:{port}");
    for host in ["Host: evil.example.com", &other, "Host: 127.0.0.1", "Host:", "Host: localhost:1"] {
        let answer = house.ask("GET", DID, &[host, &bearer], "").await;
        assert_eq!((answer.status, answer.problem().as_str()), (421, "host"), "{host}: {answer:?}");
    }
    let local = format!("Host: localhost:{port}");
    assert_eq!(house.ask("GET", DID, &[&local], "").await.status, 200, "anonymous, from here, by a name of here");
    // A tunnel's daemon comes from here too, and by the public name.
    assert_eq!(house.ask("GET", DID, &["Host: switchyard.example.org"], "").await.status, 401);
    assert_eq!(house.ask("GET", DID, &["Host: switchyard.example.org", &bearer], "").await.status, 200);
    // A write always says who it is by.
    assert_eq!(moved(&house, &[&local]).await.status, 401);
    let strict = House::open(settings()).await;
    assert_eq!(strict.ask("GET", DID, &[], "").await.status, 401, "only if configured");
}

#[tokio::test]
async fn viewers_see_numbers_in_part_where_it_is_configured() {
    let house = House::open(AuthSettings { viewers_see: Numbers::Part, ..settings() }).await;
    let (viewer, operator) = (house.bearer("ravi", Role::Viewer), house.bearer("meera", Role::Operator));
    let page = house.ask("GET", "/api/v1/dids?limit=20", &[&viewer], "").await;
    assert!(!page.body.contains("+918065080700") && page.body.contains("+9180650807**"), "{}", page.body);
    assert_eq!(house.ask("GET", DID, &[&viewer], "").await.json()["number"], "+9180659780**");
    assert_eq!(house.ask("GET", DID, &[&operator], "").await.json()["number"], "+918065978002");
    let problem = house.ask("GET", "/api/v1/dids/+918065978555", &[&viewer], "").await;
    assert_eq!(problem.status, 404);
    assert!(!problem.body.contains("918065978555"), "{}", problem.body);
    // A page leads to the next without a whole number.
    let (mut seen, mut after) = (20, page.json()["next"].clone());
    while let Some(next) = after.as_str() {
        let page = house.ask("GET", &format!("/api/v1/dids?limit=20&after={next}"), &[&viewer], "").await.json();
        seen += page["dids"].as_array().unwrap().len();
        after = page["next"].clone();
    }
    assert_eq!(seen, 55);
}

#[tokio::test]
async fn every_answer_tells_browsers_to_run_nothing_foreign() {
    let house = House::open(settings()).await;
    for path in ["/admin/login", "/api/v1/session", "/nowhere"] {
        let answer = house.ask("GET", path, &[], "").await;
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'") && policy.contains("script-src 'self'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("referrer-policy"), Some("same-origin"));
    }
}

#[tokio::test]
async fn failed_logins_are_limited_and_lock_nobody_out() {
    let house = House::open(settings()).await;
    let wrong = "Authorization: Bearer swy_wrong";
    for _ in 0..FAILED_LOGINS_MAX {
        assert_eq!(house.ask("GET", DID, &[wrong], "").await.status, 401);
    }
    let answer = house.ask("GET", DID, &[wrong], "").await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("10")));
    let good = house.bearer("meera", Role::Viewer);
    assert_eq!(house.ask("GET", DID, &[&good], "").await.status, 200);
}

#[tokio::test]
async fn one_client_s_requests_are_limited_and_another_s_pass() {
    let header = Some("x-forwarded-for".to_owned());
    let house = House::open(AuthSettings { client_header: header, ..settings() }).await;
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    let request = format!("GET /admin/login HTTP/1.1\r\nHost: {}\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n", house.address);
    // They come faster than they are given back, on one connection.
    let (mut reader, mut writer) = stream.split();
    let writing = async {
        for _ in 0..REQUESTS_AT_ONCE * 20 {
            if writer.write_all(request.as_bytes()).await.is_err() {
                break;
            }
        }
    };
    let reading = async {
        let mut seen = String::new();
        let mut bytes = [0; 65_536];
        while !seen.contains("HTTP/1.1 429") {
            let count = reader.read(&mut bytes).await.unwrap();
            assert!(count > 0, "nothing was refused");
            seen = String::from_utf8_lossy(&bytes[..count]).into_owned();
        }
    };
    tokio::select! {
        () = reading => {}
        () = async { writing.await; std::future::pending().await } => {}
        () = tokio::time::sleep(PATIENCE) => panic!("no request was refused"),
    }
    let other = ["X-Forwarded-For: 192.0.2.1, 192.0.2.2"];
    assert_eq!(house.ask("GET", "/admin/login", &other, "").await.status, 200);
}

#[tokio::test]
async fn sx19_whoever_does_not_end_his_headers_is_closed_and_holds_nobody_up() {
    let house = House::open(settings()).await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        stream.write_all(b"GET /api/v1/status HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
        slow.push(stream);
    }
    let begun = Instant::now();
    let bearer = house.bearer("meera", Role::Viewer);
    assert_eq!(house.ask("GET", DID, &[&bearer], "").await.status, 200);
    for mut stream in slow {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "a slow client is still there");
    }
    assert!(begun.elapsed() >= Duration::from_secs(5), "they had their time");
}

#[tokio::test]
async fn sx19_what_is_too_large_is_refused() {
    let house = House::open(settings()).await;
    let bearer = house.bearer("meera", Role::Operator);
    let huge = format!("{{\"reason\":\"{}\"}}", "x".repeat(1 << 20));
    let answer = house.ask("PUT", ENVIRONMENT, &[&bearer, "If-Match: *"], &huge).await;
    assert!(answer.status == 400 || answer.status == 413, "{answer:?}");
    let head =
        format!("GET {DID} HTTP/1.1\r\nHost: {}\r\nX: {}\r\n\r\n", house.address, "x".repeat(HEAD_BYTES_MAX * 2));
    let answer = house.raw(&head).await;
    assert!(matches!(answer.status, 0 | 431), "{answer:?}");
    let deep = "[".repeat(60_000);
    assert_eq!(house.ask("PUT", ENVIRONMENT, &[&bearer, "If-Match: *"], &deep).await.problem(), "invalid");
    assert_eq!(house.ask("GET", DID, &[&bearer], "").await.status, 200);
}

#[tokio::test]
async fn sx19_so_many_connections_and_no_more() {
    let house = House::open(settings()).await;
    room_for(CONNECTIONS_MAX);
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        open.push(TcpStream::connect(house.address).await.unwrap());
    }
    // The one more is closed without an answer.
    let refused = house.raw(&format!("GET {DID} HTTP/1.1\r\nHost: {}\r\n\r\n", house.address)).await;
    assert_eq!(refused.status, 0, "{refused:?}");
    drop(open);
    let bearer = house.bearer("meera", Role::Viewer);
    let begun = Instant::now();
    while house.ask("GET", DID, &[&bearer], "").await.status != 200 {
        assert!(begun.elapsed() < PATIENCE, "room does not come back");
    }
}

/// Descriptors for both ends of this many connections.
fn room_for(connections: usize) {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let wanted = u64::try_from(connections * 2 + 512).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, wanted.max(soft), wanted.max(hard)).unwrap();
}

#[tokio::test]
async fn sx19_so_many_streams_of_events_and_no_more() {
    room_for(EVENT_STREAMS_MAX);
    let header = Some("x-forwarded-for".to_owned());
    let house = House::open(AuthSettings { client_header: header, ..settings() }).await;
    let bearer = house.bearer("ravi", Role::Viewer);
    // Each from a client of its own, so that no rate is reached.
    let stream = async |client: usize| {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        let from = format!("10.9.{}.{}", client / 250, client % 250 + 1);
        let host = house.address;
        let request =
            format!("GET /admin/events HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: {from}\r\n{bearer}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        (stream, String::from_utf8_lossy(&head).into_owned())
    };
    let mut open = Vec::new();
    for client in 0..EVENT_STREAMS_MAX {
        let (stream, status) = stream(client).await;
        assert_eq!(status, "HTTP/1.1 200", "stream {client}");
        open.push(stream);
    }
    assert_eq!(stream(EVENT_STREAMS_MAX).await.1, "HTTP/1.1 429");
    // Others are answered all the while, and a place comes back when its stream ends.
    assert_eq!(house.ask("GET", DID, &[&bearer], "").await.status, 200);
    open.pop();
    let begun = Instant::now();
    while stream(EVENT_STREAMS_MAX).await.1 != "HTTP/1.1 200" {
        assert!(begun.elapsed() < PATIENCE, "the place does not come back");
    }
}

#[tokio::test]
#[ignore = "full set: it waits for a minute"]
async fn sx19_a_body_that_does_not_come_is_given_up() {
    let house = House::open(settings()).await;
    let bearer = house.bearer("meera", Role::Operator);
    let head = format!(
        "PUT {ENVIRONMENT} HTTP/1.1\r\nHost: {}\r\n{bearer}\r\nIf-Match: *\r\n\
         Content-Type: application/json\r\nConnection: close\r\nContent-Length: 100\r\n\r\n{{",
        house.address
    );
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    tokio::time::timeout(PATIENCE * 2, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[tokio::test]
#[ignore = "full set: it waits for half a minute"]
async fn sx19_whoever_does_not_read_is_closed() {
    let house = House::open(settings()).await;
    let bearer = house.bearer("meera", Role::Operator);
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    let request = format!("GET /api/v1/dids HTTP/1.1\r\nHost: {}\r\n{bearer}\r\n\r\n", house.address);
    // Answers of some 20 KB each: far more than both ends keep.
    let begun = Instant::now();
    let unread = async { while stream.write_all(request.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(PATIENCE * 2, unread).await.expect("whoever does not read is still served");
    assert!(begun.elapsed() >= admin::limits::STALL_TIME_MAX / 2, "he had his time");
}
