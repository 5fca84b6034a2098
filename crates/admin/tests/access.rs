//! Cloudflare Access: what its header says counts only with the team's signature, for our application, in its time.
#![expect(clippy::indexing_slicing, reason = "the lint's leave for tests does not reach the functions they share")]

mod house;
mod stage;

use admin::AuthSettings;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use house::{Answer, House, KeyServer, PATIENCE, TeamKey, now_s, settings, unsigned};
use ring::hmac;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const SESSION: &str = "/api/v1/session";

fn claims(email: &str) -> Value {
    let now_s = now_s();
    json!({
        "iss": "https://example.cloudflareaccess.com", "aud": ["our-application"], "email": email, "sub": "1",
        "iat": now_s, "nbf": now_s, "exp": now_s + 600, "type": "app",
    })
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

async fn shown(house: &House, token: &str) -> Answer {
    house.ask("GET", SESSION, &[&format!("Cf-Access-Jwt-Assertion: {token}")], "").await
}

/// A house that has fetched the team's keys.
async fn house(server: &KeyServer) -> House {
    let house = House::open(AuthSettings { team: Some(server.team()), ..settings() }).await;
    let begun = Instant::now();
    while server.asked() == 0 {
        assert!(begun.elapsed() < PATIENCE, "the keys were not fetched");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    house
}

#[tokio::test]
async fn whoever_the_team_vouches_for_has_the_role_of_his_address() {
    let key = TeamKey::make("first");
    let server = KeyServer::start(&[&key]).await;
    let house = house(&server).await;
    for (email, role) in
        [("meera@example.org", "admin"), ("Meera@Example.org", "admin"), ("ravi@example.org", "viewer")]
    {
        let answer = shown(&house, &key.sign(&claims(email))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!((&answer.json()["who"], &answer.json()["role"]), (&json!(email.to_lowercase()), &json!(role)));
    }
    assert_eq!(shown(&house, &key.sign(&claims("eve@example.com"))).await.status, 403, "no role");
    assert_eq!(shown(&house, &key.sign(&claims("x@example.org.example.com"))).await.status, 403);
    let one = with(claims("meera@example.org"), "aud", json!("our-application"));
    assert_eq!(shown(&house, &key.sign(&one)).await.status, 200, "one audience need not be a list");
    // The browser adds the header whoever made it ask: a write says more.
    let token = key.sign(&claims("meera@example.org"));
    let line = format!("Cf-Access-Jwt-Assertion: {token}");
    let body = "{\"reason\":\"a test\"}";
    assert_eq!(house.ask("PUT", "/api/v1/panic", &[&line], body).await.status, 403);
    let csrf = shown(&house, &token).await.json()["csrf"].as_str().unwrap().to_owned();
    let csrf = format!("X-Csrf-Token: {csrf}");
    assert_eq!(house.ask("PUT", "/api/v1/panic", &[&line, &csrf], body).await.status, 200);
}

#[tokio::test]
async fn sx19_what_the_team_did_not_sign_for_us_and_for_now_is_refused() {
    let (key, other) = (TeamKey::make("first"), TeamKey::make("first"));
    let server = KeyServer::start(&[&key]).await;
    let house = house(&server).await;
    let good = claims("meera@example.org");
    assert_eq!(shown(&house, &key.sign(&good)).await.status, 200);
    let rs256 = json!({ "alg": "RS256", "kid": "first" });
    let none = unsigned(&json!({ "alg": "none", "kid": "first" }), &good);
    let hs256 = unsigned(&json!({ "alg": "HS256", "kid": "first" }), &good);
    let shared = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key.modulus()), hs256.as_bytes());
    let [_, altered] = [&good, &with(good.clone(), "email", json!("asha@example.org"))].map(|c| unsigned(&rs256, c));
    let signature = key.sign(&good).rsplit_once('.').unwrap().1.to_owned();
    for (what, token) in [
        ("expired", key.sign(&with(good.clone(), "exp", json!(now_s() - 1)))),
        ("not yet", key.sign(&with(good.clone(), "nbf", json!(now_s() + 600)))),
        ("another application's", key.sign(&with(good.clone(), "aud", json!(["another"])))),
        ("nobody's", key.sign(&with(good.clone(), "aud", json!([])))),
        ("another team's", key.sign(&with(good.clone(), "iss", json!("https://evil.cloudflareaccess.com")))),
        ("without an address", key.sign(&with(good.clone(), "email", json!("")))),
        ("without an end", key.sign(&with(good.clone(), "exp", Value::Null))),
        ("signed by another key", other.sign(&good)),
        ("of a key that is not there", key.sign_as(&json!({ "alg": "RS256", "kid": "second" }), &good)),
        ("with a critical extension", key.sign_as(&json!({ "alg": "RS256", "kid": "first", "crit": ["x"] }), &good)),
        ("algorithm none", format!("{none}.")),
        ("algorithm none, signed", format!("{none}.{signature}")),
        ("the public key as a shared secret", format!("{hs256}.{}", URL_SAFE_NO_PAD.encode(shared))),
        ("altered", format!("{altered}.{signature}")),
        ("without a signature", unsigned(&rs256, &good)),
        ("an empty signature", format!("{}.", unsigned(&rs256, &good))),
        ("four parts", format!("{}.x", key.sign(&good))),
        ("nothing", String::new()),
        ("nonsense", "nonsense".into()),
        ("too long", format!("{}{}", key.sign(&good), "A".repeat(10_000))),
    ] {
        let answer = shown(&house, &token).await;
        assert!(matches!(answer.status, 401 | 429), "{what}: {answer:?}");
    }
    // What is wrong is never as if nothing had been shown, and what is right is let in after all of it.
    assert_eq!(shown(&house, &key.sign(&good)).await.status, 200);
}

#[tokio::test]
async fn a_token_that_was_good_is_refused_once_it_has_expired() {
    let key = TeamKey::make("first");
    let server = KeyServer::start(&[&key]).await;
    let house = house(&server).await;
    let token = key.sign(&with(claims("meera@example.org"), "exp", json!(now_s() + 2)));
    assert_eq!(shown(&house, &token).await.status, 200);
    let begun = Instant::now();
    while shown(&house, &token).await.status == 200 {
        assert!(begun.elapsed() < PATIENCE, "it does not expire");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(shown(&house, &token).await.status, 401);
}

#[tokio::test]
async fn a_team_s_new_key_is_fetched_when_it_is_seen_and_not_for_every_stranger() {
    let (first, second) = (TeamKey::make("first"), TeamKey::make("second"));
    let server = KeyServer::start(&[&first]).await;
    let house = house(&server).await;
    let asked = server.asked();
    server.serves(&[&first, &second]);
    let good = claims("meera@example.org");
    // It was fetched a moment ago: a key that is not known does not make us ask at once, whoever shows it.
    for _ in 0..5 {
        assert_eq!(shown(&house, &second.sign(&good)).await.status, 401);
    }
    assert_eq!(server.asked(), asked);
    assert_eq!(shown(&house, &first.sign(&good)).await.status, 200);
}
