//! The admin page in a real Chromium, on the program with a real MariaDB: what an operator does on an evening.

use lab::browser::{Browser, keys, pictures};
use lab::process::Place;
use lab::sipp::{Calls, Party};
use std::path::Path;
use std::time::Duration;

use crate::bench;
use crate::bench::Bench;
use crate::server::Engine;
use crate::stage::Stage;
use crate::url;

const NUMBER: &str = "+918065978002";
const ROW: &str = "document.querySelector(\"tr[data-number='+918065978002']\")";
const WIDE: (u32, u32) = (1_440, 900);
const NARROW: (u32, u32) = (360, 740);
/// axe-core as `cargo xtask test` installs it.
const AXE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools/axe/node_modules/axe-core/axe.min.js");

/// The program with its page, and people who may log in.
struct House {
    stage: Stage,
    bench: Bench,
    place: Place,
    base: String,
    network: u8,
    _folder: tempfile::TempDir,
}

impl House {
    async fn open(network: u8) -> House {
        let bench = bench(Engine::MariaDb, "").await;
        let host = format!("127.7.{network}.1:8080");
        let more = format!("poll_interval = \"50ms\"\n[admin]\nlisten = \"{host}\"\n");
        let stage = Stage::start(network, &url(&bench), &more);
        {
            // An account is the server's, not the database's.
            let _turn = bench.server.accounts.lock().await;
            let (code, told) = stage.db("migrate", &bench.root_url());
            assert_eq!(code, 0, "{told}");
        }
        let folder = tempfile::tempdir().unwrap();
        let place = Place::here(folder.path());
        House { stage, bench, place, base: format!("http://{host}"), network, _folder: folder }
    }

    /// A browser in which somebody with this role has logged in by the page.
    fn browser(&self, who: &str, role: &str, size: (u32, u32)) -> Browser {
        let made = self.stage.json(&["token", "add", who, "--role", role, "--reason", "a test of the page"]);
        let browser = Browser::start(&self.place, size, false);
        browser.open(&format!("{}/admin/dids", self.base));
        browser.until("location.pathname === '/admin/login'");
        browser.type_into("input[name=token]", made["token"].as_str().unwrap());
        browser.press(&keys::ENTER.to_string());
        browser.until("location.pathname === '/admin'");
        browser
    }

    fn at(&self, browser: &Browser, path: &str) {
        browser.open(&format!("{}{path}", self.base));
    }

    /// A call of SIPp's; the PBX that it landed at.
    fn sipp_lands_at(&self, number: &str) -> String {
        let address = |host: u8, port: u16| format!("127.7.{}.{host}:{port}", self.network).parse().unwrap();
        let caller = Party::caller(&self.place, "busy", address(2, 5_071), address(1, 5_060), Calls::one(number));
        let messages = caller.succeeded();
        let who = messages.lines().find_map(|line| line.strip_prefix("X-Who:"));
        who.unwrap_or_else(|| panic!("no PBX has answered: {messages}")).trim().to_owned()
    }
}

fn move_to(browser: &Browser, number: &str, environment: &str, how_long: &str) {
    browser.click(&format!("tr[data-number='{number}'] [data-open=move]"));
    browser.click(&format!("#move input[value={environment}]"));
    browser.run(&format!("document.querySelector('#move select').value = '{how_long}'"));
    browser.type_into("#move input[name=reason]", "a test of the evening");
    browser.click("#move button.main");
}

fn answered(browser: &Browser, begins: &str) {
    browser.until(&format!("document.querySelector('#move .answer').textContent.startsWith('{begins}')"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_moves_a_number_and_sees_it_live_and_end() {
    let house = House::open(131).await;
    let browser = house.browser("meera", "operator", WIDE);
    for spelling in ["%2B918065978002", "918065978002", "08065978002", "%2B91+80+6597+8002"] {
        house.at(&browser, &format!("/admin/dids?search={spelling}"));
        browser.until(&format!("document.querySelectorAll('tr[data-number]').length === 1 && {ROW}"));
    }
    assert_eq!(house.sipp_lands_at(NUMBER), "prod");
    move_to(&browser, NUMBER, "staging", "1800");
    answered(&browser, "live in generation ");
    assert_eq!(house.sipp_lands_at(NUMBER), "staging");
    browser.until(&format!("{ROW}.dataset.environment === 'staging' && {ROW}.textContent.includes(' left')"));
    browser.screenshot(&pictures().join("dids-moved.png"));
    browser.click("#move [data-close]");

    // A lease ends by itself, and the page shows it without being asked again.
    house.stage.done(&["lease", "end", NUMBER, "--reason", "make room"]);
    browser.until(&format!("{ROW}.dataset.environment === 'prod'"));
    house.stage.done(&["did", "set", NUMBER, "oss", "--for", "3s", "--reason", "a short one"]);
    browser.until(&format!("{ROW}.dataset.environment === 'oss'"));
    browser.until_within(&format!("{ROW}.dataset.environment === 'prod'"), Duration::from_secs(30));
    assert_eq!(house.sipp_lands_at(NUMBER), "prod");

    // What happened to the last call: every rule, and its ladder.
    house.at(&browser, "/admin/calls?number=08065978002&outcome=busy");
    browser.until("document.querySelectorAll('#calls tbody tr').length >= 3");
    browser.click("#calls tbody a");
    browser.until("document.querySelector('.trace .won')?.textContent.includes('target')");
    browser.until("document.querySelector('.trace').textContent.includes('row says prod')");
    browser.until("document.querySelector('.ladder img')?.naturalWidth > 200");
    browser.until("document.body.innerText.includes('486 Busy Here')");
    browser.screenshot(&pictures().join("call.png"));

    // Many at once, with a preview.
    house.at(&browser, "/admin/dids?search=80659780");
    browser.click("#all");
    browser.click("#move-selected");
    browser.click("#move-many input[value=staging]");
    browser.until("document.querySelectorAll('[data-preview] tr').length > 20");
    browser.until("[...document.querySelectorAll('[data-preview] tr')].every((row) => row.children[2].textContent.startsWith('staging'))");
    browser.type_into("#move-many input[name=reason]", "the whole range");
    browser.click("#move-many button.main");
    browser.until("document.querySelector('#move-many .answer').textContent.endsWith(' moved')");
    assert_eq!(house.sipp_lands_at(NUMBER), "staging");
    drop(house.bench);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_browsers_the_second_learns_that_a_number_has_moved() {
    let house = House::open(132).await;
    let (first, second) = (house.browser("meera", "operator", WIDE), house.browser("ravi", "operator", WIDE));
    for browser in [&first, &second] {
        house.at(browser, "/admin/dids?search=08065978002");
        browser.click(&format!("tr[data-number='{NUMBER}'] [data-open=move]"));
        browser.click("#move input[value=oss]");
        browser.type_into("#move input[name=reason]", "at the same time");
    }
    first.click("#move button.main");
    answered(&first, "live in generation ");
    // The other's table follows by itself; the dialogue that was opened before is held to what it showed.
    second.until(&format!("{ROW}.dataset.environment === 'oss'"));
    second.click("#move button.main");
    answered(&second, "Not done: ");
    assert!(second.text().contains("Look again"), "{}", second.text());
    drop(house.bench);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_panics_and_releases_and_everyone_sees_it() {
    let house = House::open(133).await;
    let (admin, other) = (house.browser("asha", "admin", WIDE), house.browser("ravi", "operator", WIDE));
    house.stage.done(&["did", "set", NUMBER, "staging", "--reason", "before"]);
    assert_eq!(house.sipp_lands_at(NUMBER), "staging");
    house.at(&other, "/admin/dids?search=08065978002");
    house.at(&admin, "/admin");
    admin.run("window.confirm = () => true");
    admin.type_into("form[data-path='/api/v1/panic'] input[name=reason]", "staging has gone mad");
    admin.click("form[data-path='/api/v1/panic'] button");
    other.until("document.querySelector('.banner.alarm')?.textContent.includes('Panic')");
    other.screenshot(&pictures().join("panic.png"));
    assert_eq!(house.sipp_lands_at(NUMBER), "prod");
    admin.until("document.querySelector('form[data-path=\"/api/v1/panic\"]')?.dataset.write === 'DELETE'");
    admin.type_into("form[data-path='/api/v1/panic'] input[name=reason]", "it is over");
    admin.click("form[data-path='/api/v1/panic'] button");
    other.until("!document.querySelector('.banner.alarm')");
    assert_eq!(house.sipp_lands_at(NUMBER), "staging");
    house.at(&admin, "/admin/audit");
    let text = admin.text();
    assert!(text.contains("staging has gone mad") && text.contains("it is over") && text.contains("asha"), "{text}");
    house.at(&admin, "/admin/peers");
    let form = "form[data-path^='/api/v1/peers/']";
    admin.run(&format!("document.querySelector({form:?}).elements.admin.value = 'drain'"));
    admin.type_into(&format!("{form} input[name=reason]"), "its disk is changed");
    admin.click(&format!("{form} button"));
    admin.until("document.querySelector('td[data-label=Admin]').textContent.includes('its disk is changed')");
    assert!(house.stage.done(&["peer", "list"]).contains("its disk is changed"));
    drop(house.bench);
}

/// What the page does not offer, the API refuses; and a write without the page's token is nobody's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_and_a_foreign_page_change_nothing() {
    let house = House::open(134).await;
    let viewer = house.browser("vikram", "viewer", WIDE);
    house.at(&viewer, "/admin/dids");
    assert_eq!(viewer.run("return document.querySelectorAll('[data-open], [data-write]').length"), 0);
    let put = |browser: &Browser, csrf: &str| {
        let script = format!(
            "fetch('/api/v1/dids/{NUMBER}/environment', {{ method: 'PUT', headers: {{ 'If-Match': '*', \
             'Content-Type': 'application/json', {csrf} }}, body: JSON.stringify({{ environment: 'oss', reason: 'x' }}) }})\
             .then((answer) => done(answer.status));"
        );
        browser.run_to_end(&script)
    };
    let own = "'X-CSRF-Token': document.querySelector('meta[name=csrf]').content";
    assert_eq!(put(&viewer, own), 403);
    let operator = house.browser("meera", "operator", WIDE);
    house.at(&operator, "/admin/dids");
    for csrf in ["", "'X-CSRF-Token': 'guessed'"] {
        assert_eq!(put(&operator, csrf), 403, "{csrf}");
    }
    assert_eq!(house.stage.json(&["did", "show", NUMBER])["environment"], "prod");
    assert_eq!(put(&operator, own), 200);
    // Whoever has logged out is nobody.
    operator.click("[data-act=logout]");
    operator.until("location.pathname === '/admin/login'");
    house.at(&operator, "/admin/dids");
    operator.until("location.pathname === '/admin/login'");
    drop(house.bench);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_goes_by_keyboard_alone() {
    let house = House::open(135).await;
    let browser = house.browser("meera", "operator", WIDE);
    house.at(&browser, "/admin/dids");
    let focus_on = |what: &str| {
        for _ in 0..200 {
            if browser.run(&format!("return document.activeElement?.matches({what:?}) === true")) == true {
                return;
            }
            browser.press(&keys::TAB.to_string());
        }
        panic!("the tabulator never reaches {what}");
    };
    focus_on("a.skip");
    focus_on("input[type=search]");
    browser.press(&format!("08065978002{}", keys::ENTER));
    browser.until("document.querySelectorAll('tr[data-number]').length === 1");
    focus_on("[data-open=move]");
    browser.press(&keys::ENTER.to_string());
    browser.until("document.getElementById('move').open");
    focus_on("#move input[type=radio]");
    browser.press(&format!("{}{}", keys::SPACE, keys::DOWN));
    browser.until("document.querySelector('#move input:checked')?.value === 'staging'");
    focus_on("#move input[name=reason]");
    browser.press(&format!("by keys{}", keys::ENTER));
    answered(&browser, "live in generation ");
    browser.press(&keys::ESCAPE.to_string());
    browser.until("!document.getElementById('move').open");
    assert_eq!(house.sipp_lands_at(NUMBER), "staging");
    drop(house.bench);
}

/// Each page, wide and narrow, light and dark: nothing sticks out, and axe-core finds no serious fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_fit_and_are_accessible() {
    let house = House::open(136).await;
    house.stage.done(&["did", "set", NUMBER, "staging", "--for", "2h", "--reason", "something to see"]);
    let axe = std::fs::read_to_string(Path::new(AXE))
        .unwrap_or_else(|fault| panic!("{AXE}: {fault}; `cargo xtask test` installs it"));
    for (name, size) in [("wide", WIDE), ("narrow", NARROW)] {
        let browser = house.browser(&format!("asha-{name}"), "admin", size);
        for page in ["", "/dids", "/calls", "/peers", "/generations", "/faults", "/testers", "/audit"] {
            house.at(&browser, &format!("/admin{page}"));
            let wider = browser.run("return document.documentElement.scrollWidth - window.innerWidth");
            assert!(wider.as_i64().unwrap() <= 0, "/admin{page} is {wider} px wider than {name}");
            browser.run(&axe);
            let found = browser.run_to_end(
                "axe.run(document, { resultTypes: ['violations'] }).then((found) => done(found.violations\
                 .filter((one) => ['serious', 'critical'].includes(one.impact))\
                 .map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(' | ')}`)));",
            );
            assert_eq!(found, serde_json::json!([]), "/admin{page}, {name}");
            browser.screenshot(&pictures().join(format!("{name}{}.png", page.replace('/', "-"))));
        }
    }
    drop(house.bench);
}
