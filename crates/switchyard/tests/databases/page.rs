//! The admin page in a real Chromium, on the program with a real MariaDB: what an operator does on an evening.

use lab::browser::{Browser, keys, pictures};
use lab::process::Place;
use lab::sipp::{Calls, Party};
use std::path::Path;
use std::time::Duration;

use crate::bench;
use crate::bench::Bench;
use crate::server::Engine;
use crate::stage::{Options, Stage, Takes};
use crate::url;

const NUMBER: &str = "+918065978002";
const ROW: &str = "document.querySelector(\"tr[data-number='+918065978002']\")";
const WIDE: (u32, u32) = (1_440, 900);
const NARROW: (u32, u32) = (360, 740);
/// axe-core as `cargo xtask test` installs it.
const AXE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools/axe/node_modules/axe-core/axe.min.js");

/// The program with its page, and people who may log in.
pub(crate) struct House {
    pub(crate) stage: Stage,
    bench: Bench,
    pub(crate) place: Place,
    base: String,
    network: u8,
    _folder: tempfile::TempDir,
}

impl House {
    pub(crate) async fn open(network: u8) -> House {
        House::open_with(network, "").await
    }

    /// The same, with more tables of the configuration.
    async fn open_with(network: u8, tables: &str) -> House {
        let bench = bench(Engine::MariaDb, "").await;
        let host = format!("127.7.{network}.1:8080");
        let more = format!("poll_interval = \"50ms\"\n[admin]\nlisten = \"{host}\"\n{tables}");
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
        self.browser_in(who, role, size, false)
    }

    /// The same, and it asks for dark pages or for light ones.
    fn browser_in(&self, who: &str, role: &str, size: (u32, u32), is_dark: bool) -> Browser {
        let made = self.stage.json(&["token", "add", who, "--role", role, "--reason", "a test of the page"]);
        let browser = Browser::start(&self.place, size, is_dark);
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
    house.at(&other, "/admin/peers");
    let form = "form[data-path^='/api/v1/peers/']";
    admin.run(&format!("document.querySelector({form:?}).elements.admin.value = 'drain'"));
    admin.type_into(&format!("{form} input[name=reason]"), "its disk is changed");
    admin.click(&format!("{form} button"));
    admin.until("document.querySelector('td[data-label=Admin]').textContent.includes('its disk is changed')");
    assert!(house.stage.done(&["peer", "list"]).contains("its disk is changed"));
    other.until("document.querySelector('td[data-label=Admin]').textContent.includes('its disk is changed')");
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
    // A screen reader says it without being asked.
    browser.until("document.querySelector('#live[aria-live=polite]').textContent.startsWith('live in generation ')");
    browser.press(&keys::ESCAPE.to_string());
    browser.until("!document.getElementById('move').open");
    assert_eq!(house.sipp_lands_at(NUMBER), "staging");
    drop(house.bench);
}

fn has_no_serious_fault(browser: &Browser, axe: &str, page: &str) {
    browser.run(axe);
    let found = browser.run_to_end(
        "axe.run(document, { resultTypes: ['violations'] }).then((found) => done(found.violations\
         .filter((one) => ['serious', 'critical'].includes(one.impact))\
         .map((one) => `${one.id}: ${one.nodes.map((node) => node.html).join(' | ')}`)));",
    );
    assert_eq!(found, serde_json::json!([]), "{page}");
}

/// Each page, wide and narrow, light and dark: nothing sticks out, and axe-core finds no serious fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_fit_and_are_accessible() {
    let mut house = House::open(136).await;
    house.stage.set("prod", Options::Knows, Takes::Answers);
    let id = house.stage.invite(NUMBER);
    let held = house.stage.answered(&id, NUMBER);
    house.stage.call("+918065978001");
    house.stage.done(&["did", "set", NUMBER, "staging", "--for", "2h", "--reason", "something to see"]);
    let axe = std::fs::read_to_string(Path::new(AXE))
        .unwrap_or_else(|fault| panic!("{AXE}: {fault}; `cargo xtask test` installs it"));
    for (name, size, is_dark) in [("wide", WIDE, false), ("narrow", NARROW, false), ("dark", WIDE, true)] {
        let browser = house.browser_in(&format!("asha-{name}"), "admin", size, is_dark);
        let is_so = browser.run("return matchMedia('(prefers-color-scheme: dark)').matches");
        assert_eq!(is_so, is_dark);
        for page in ["", "/dids", "/calls", "/calls/1", "/peers", "/generations", "/faults", "/testers", "/audit"] {
            house.at(&browser, &format!("/admin{page}"));
            let wider = browser.run("return document.documentElement.scrollWidth - window.innerWidth");
            assert!(wider.as_i64().unwrap() <= 0, "/admin{page} is {wider} px wider than {name}");
            has_no_serious_fault(&browser, &axe, &format!("/admin{page}, {name}"));
            browser.screenshot(&pictures().join(format!("{name}{}.png", page.replace('/', "-"))));
        }
        house.at(&browser, "/admin/dids?search=08065978002");
        browser.click(&format!("tr[data-number='{NUMBER}'] [data-open=move]"));
        browser.click("#move input[value=oss]");
        browser.until("document.querySelector('[data-ready]').textContent.includes('oss does not answer')");
        let wider =
            browser.run("const move = document.getElementById('move'); return move.scrollWidth - move.clientWidth");
        assert!(wider.as_i64().unwrap() <= 0, "the dialogue is {wider} px wider than {name}");
        has_no_serious_fault(&browser, &axe, &format!("the dialogue, {name}"));
        browser.screenshot(&pictures().join(format!("{name}-move.png")));
    }
    house.stage.hang_up(&held);
    drop(house.bench);
}

/// Whether the other environment knows the number, which calls are up, and that a move leaves them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_a_move_the_other_pbx_is_asked_and_calls_that_are_up_are_told() {
    let mut house = House::open(137).await;
    house.stage.set("prod", Options::Knows, Takes::Answers);
    house.stage.set("staging", Options::Knows, Takes::Busy);
    let browser = house.browser("meera", "operator", WIDE);
    house.at(&browser, "/admin/dids?search=08065978002");
    browser.until(&format!("{ROW}.querySelector('[data-cell=live]').textContent === 'none'"));
    browser.until(&format!("{ROW}.querySelector('[data-cell=last]').textContent === 'none'"));
    browser.run("window.isFirst = true");
    let id = house.stage.invite(NUMBER);
    let held = house.stage.answered(&id, NUMBER);
    browser.until(&format!("{ROW}.querySelector('[data-cell=live]').textContent === '1 in prod'"));
    browser.until(&format!("{ROW}.querySelector('[data-cell=last]').textContent.startsWith('answered (200)')"));

    let says = |environment: &str, words: &str| {
        browser.click(&format!("#move input[value={environment}]"));
        browser.until(&format!("document.querySelector('[data-ready]').textContent.includes('{words}')"));
    };
    browser.click(&format!("tr[data-number='{NUMBER}'] [data-open=move]"));
    browser.until("document.querySelector('#move [data-fill=live]').textContent === '1 call still up in prod'");
    says("staging", "staging knows the number, and tells it from one that nobody can have");
    browser.until("document.querySelector('[data-ready]').textContent.includes('ready (200, 404 for +910000000000)')");
    browser.until("document.querySelector('[data-ready]').className === 'good'");
    says("oss", "oss does not answer");
    for (options, words) in [
        (Options::SaysYes, "it tells nothing"),
        (Options::KnowsNothing, "is alive and does not know the number"),
        (Options::Knows, "knows the number"),
    ] {
        house.stage.set("staging", options, Takes::Busy);
        says("oss", "does not answer");
        says("staging", words);
    }
    browser.click("#move [data-ask-again]");
    says("staging", "knows the number");
    browser.type_into("#move input[name=reason]", "staging knows it");
    browser.click("#move button.main");
    answered(&browser, "live in generation ");
    browser.until("document.querySelector('#move .answer').textContent.endsWith(' ms; 1 call still up in prod')");
    assert_eq!(house.sipp_lands_at(NUMBER), "staging");
    // The call that was up is still up, and its BYE goes where it went.
    house.stage.hang_up(&held);
    browser.until(&format!("{ROW}.querySelector('[data-cell=live]').textContent === 'none'"));
    browser.until(&format!("{ROW}.querySelector('[data-cell=last]').textContent.startsWith('busy (486)')"));
    assert_eq!(browser.run("return window.isFirst"), true, "the page was loaded again");

    // The same on the command line, with exit codes.
    let (code, told) = house.stage.verb(&["did", "ready", "08065978002", "staging"]);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("staging knows the number") && told.contains("ready"), "{told}");
    let (code, told) = house.stage.verb(&["did", "ready", NUMBER, "oss"]);
    assert!(code == 8 && told.contains("oss does not answer"), "{code}: {told}");
    assert_eq!(house.stage.verb(&["did", "ready", "+918065080799", "oss"]).0, 3);
    drop(house.bench);
}

/// A call appears, changes and ends on the page, which is loaded once; each page sees what it asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_come_change_and_end_on_the_page_by_themselves() {
    let mut house = House::open(138).await;
    house.stage.set("prod", Options::Silence, Takes::Rings);
    let all = house.browser("meera", "operator", WIDE);
    let other = house.browser("ravi", "viewer", NARROW);
    house.at(&all, "/admin/calls");
    house.at(&other, "/admin/calls?number=08065978003&peer=&outcome=");
    for browser in [&all, &other] {
        browser.until("document.getElementById('calls').hidden && !document.getElementById('no-call').hidden");
        browser.run("window.isFirst = true");
    }
    let row = "document.querySelector('#calls tbody tr:first-child')";
    let shows = |browser: &Browser, state: &str, outcome: &str| {
        browser.until(&format!(
            "{row}?.dataset.state === '{state}' && {row}.querySelector('[data-label=Outcome]').textContent === '{outcome}'"
        ));
    };
    let id = house.stage.invite(NUMBER);
    shows(&all, "rings", "in progress");
    house.stage.set("prod", Options::Silence, Takes::Answers);
    let held = house.stage.answered(&id, NUMBER);
    shows(&all, "up", "answered (200)");
    all.screenshot(&pictures().join("calls-live.png"));

    // Filters: what does not fit does not come, and what no longer fits goes.
    let filtered = house.browser("asha", "admin", WIDE);
    house.at(&filtered, "/admin/calls?number=&peer=prod&outcome=&in_progress=true");
    shows(&filtered, "up", "answered (200)");
    house.stage.hang_up(&held);
    shows(&all, "over", "answered (200)");
    filtered
        .until("document.querySelectorAll('#calls tbody tr').length === 0 && document.getElementById('calls').hidden");
    house.stage.set("prod", Options::Silence, Takes::Busy);
    assert_eq!(house.stage.call(NUMBER), "486 prod");
    shows(&all, "over", "busy (486)");
    assert_eq!(house.stage.call("+918065978003"), "486 prod");
    shows(&other, "over", "busy (486)");
    other.until("document.querySelectorAll('#calls tbody tr').length === 1");
    all.until("document.querySelectorAll('#calls tbody tr').length === 3");

    // Whoever reads may have it stand still.
    all.click("[data-act=pause]");
    all.until("document.getElementById('following').textContent === 'Paused.'");
    house.at(&filtered, "/admin/calls?number=&peer=&outcome=busy");
    assert_eq!(house.stage.call(NUMBER), "486 prod");
    filtered.until("document.querySelectorAll('#calls tbody tr').length === 3");
    assert_eq!(all.run("return document.querySelectorAll('#calls tbody tr').length"), 3);
    all.click("[data-act=pause]");
    all.until("document.querySelectorAll('#calls tbody tr').length === 4");
    for browser in [&all, &other] {
        assert_eq!(browser.run("return window.isFirst"), true, "the page was loaded again");
    }
    assert_eq!(held.did(), NUMBER);
    drop(house.bench);
}

/// A tester's calls go elsewhere, nobody else's do, and a colleague's page shows both his coming and his going.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn testers_are_added_and_ended_by_the_page() {
    let mut house = House::open(143).await;
    let (browser, other) = (house.browser("meera", "operator", WIDE), house.browser("ravi", "viewer", NARROW));
    house.at(&browser, "/admin/testers");
    house.at(&other, "/admin/testers");
    browser.type_into("input[name=caller]", "+447700900777");
    browser.type_into("input[name=did]", "080 6597 8002");
    browser.type_into("form[data-write=POST] input[name=reason]", "she tries the new menu");
    browser.click("form[data-write=POST] button");
    other.until("document.querySelector('tbody tr')?.textContent.includes('+447700900777')");
    other.until("document.querySelector('tbody tr').textContent.includes('she tries the new menu')");
    other.until("document.querySelector('tbody time').textContent.endsWith(' left')");
    assert_eq!(house.stage.call_from("+447700900777", NUMBER), "486 staging");
    assert_eq!(house.stage.call(NUMBER), "486 prod");
    browser.until("document.querySelector('form[data-write=DELETE]')");
    browser.type_into("form[data-write=DELETE] input[name=reason]", "done");
    browser.click("form[data-write=DELETE] button");
    other.until("!document.querySelector('tbody tr')");
    assert_eq!(house.stage.call_from("+447700900777", NUMBER), "486 prod");
    drop(house.bench);
}

/// What must not be overlooked comes to every open page, and goes when it is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn banners_come_and_go_by_themselves() {
    let house = House::open_with(139, "[database.guard]\nmoved_dids = 5\nmoved_percent = 1\n").await;
    let (admin, other) = (house.browser("asha", "admin", WIDE), house.browser("ravi", "viewer", NARROW));
    house.at(&other, "/admin/audit");
    let banner = |title: &str, words: &str| {
        other.until(&format!(
            "[...document.querySelectorAll('.banner')].some((one) => one.textContent.includes('{title}') && one.textContent.includes('{words}'))"
        ));
    };
    let none = || other.until("document.querySelectorAll('.banner').length === 0");
    none();
    house.stage.done(&["drain", "--reason", "new kernel"]);
    banner("Draining:", "503");
    assert_eq!(other.run("return document.querySelector('.banner').getAttribute('role')"), "alert");
    house.stage.done(&["drain", "--off", "--reason", "it is there"]);
    none();

    // Somebody renames a column, and a change makes the proxy look.
    house.bench.write("ALTER TABLE did_numbers RENAME COLUMN routing_environment TO env").await;
    house.bench.write("UPDATE did_numbers SET env = 'oss' WHERE number LIKE '%8065978005'").await;
    banner("Database away:", "last good table");
    assert_eq!(other.run("return document.querySelector('.banner').getAttribute('role')"), "status");
    house.bench.write("ALTER TABLE did_numbers RENAME COLUMN env TO routing_environment").await;
    none();

    house.bench.write("UPDATE did_numbers SET routing_environment = 'oss' WHERE routing_environment <> 'oss'").await;
    banner("Held back by the guard:", "old table");
    other.screenshot(&pictures().join("held.png"));
    house.at(&admin, "/admin");
    admin.until("document.querySelectorAll('#guard tbody tr').length > 0");
    admin.type_into("#guard input[name=reason]", "it was meant");
    admin.click("#guard button");
    none();
    assert_eq!(house.sipp_lands_at(NUMBER), "oss");
    drop(house.bench);
}

/// The overview says how the house is: environments and their health, the table and its age, calls, refusals by reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_overview_says_how_the_house_is_and_stays_fresh() {
    let mut house = House::open(140).await;
    let browser = house.browser("ravi", "viewer", WIDE);
    browser.run("window.isFirst = true");
    let has = |words: &str| browser.until(&format!("document.getElementById('content').innerText.includes('{words}')"));
    for words in ["serving, for ", "55 DIDs", " ago, by ", "0 in progress, 0.0 a second"] {
        has(words);
    }
    for party in ["tata", "prod", "staging", "oss"] {
        browser
            .until(&format!("[...document.querySelectorAll('tbody th')].some((one) => one.textContent === '{party}')"));
    }
    house.stage.set("prod", Options::Silence, Takes::Answers);
    let id = house.stage.invite(NUMBER);
    let held = house.stage.answered(&id, NUMBER);
    has("1 in progress");
    house.stage.hang_up(&held);
    has("0 in progress");
    let refused = house.stage.call("+918065080729");
    assert!(refused.starts_with("404 "), "{refused}");
    browser.until("[...document.querySelectorAll('tbody tr')].some((row) => row.children[0].textContent === 'refused' && row.children[2].textContent === '1')");
    house.stage.done(&["peer", "set", "staging", "drain", "--reason", "its disk is changed"]);
    browser.until("[...document.querySelectorAll('tbody tr')].some((row) => row.textContent.includes('staging') && row.textContent.includes('drain'))");
    assert_eq!(browser.run("return window.isFirst"), true, "the page was loaded again");
    drop(house.bench);
}

/// The pictures of docs/tutorial/move-a-number.md, in the order of its steps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tutorial_s_steps_go_as_it_says() {
    let mut house = House::open(141).await;
    house.stage.set("prod", Options::Knows, Takes::Answers);
    house.stage.set("staging", Options::Knows, Takes::Busy);
    house.stage.call("+918065978021");
    let id = house.stage.invite(NUMBER);
    let held = house.stage.answered(&id, NUMBER);
    let browser = house.browser("meera", "operator", (1_100, 620));
    let picture = |name: &str| browser.screenshot(&pictures().join(format!("tutorial-{name}.png")));
    house.at(&browser, "/admin/dids");
    browser.type_into("input[type=search]", &format!("080 6597 8002{}", keys::ENTER));
    browser.until("document.querySelectorAll('tr[data-number]').length === 1");
    browser.until(&format!("{ROW}.textContent.includes('1 in prod')"));
    picture("1-found");
    browser.click(&format!("tr[data-number='{NUMBER}'] [data-open=move]"));
    browser.click("#move input[value=staging]");
    browser.until("document.querySelector('[data-ready]').className === 'good'");
    browser.run("document.querySelector('#move select').value = '1800'");
    browser.type_into("#move input[name=reason]", "try the new menu");
    picture("2-ready");
    browser.click("#move button.main");
    answered(&browser, "live in generation ");
    picture("3-live");
    browser.click("#move [data-close]");
    browser.until(&format!("{ROW}.textContent.includes(' left')"));
    assert_eq!(house.stage.call(NUMBER), "486 staging");
    browser.until(&format!("{ROW}.textContent.includes('busy (486)')"));
    picture("4-moved");
    house.at(&browser, "/admin/calls?number=08065978002");
    browser.until("document.querySelectorAll('#calls tbody tr').length === 2");
    picture("5-calls");
    browser.click("#calls tbody a");
    browser.until("document.querySelector('.ladder img')?.naturalWidth > 200");
    browser.until("document.querySelector('.trace').textContent.includes('lease')");
    picture("6-why");
    house.stage.hang_up(&held);
    house.at(&browser, "/admin/dids?search=08065978002");
    browser.click(&format!("tr[data-number='{NUMBER}'] [data-open=move]"));
    browser.type_into("#move input[name=reason]", "it works");
    browser.click("#move [data-end-lease]");
    answered(&browser, "live in generation ");
    browser.until(&format!("{ROW}.dataset.environment === 'prod'"));
    picture("7-back");
    drop(house.bench);
}
