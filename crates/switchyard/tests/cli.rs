//! The command line as its users see it: what is printed, and the exit code.
#![expect(clippy::unwrap_used, reason = "the lint's leave for tests does not reach the functions they share")]

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// Runs the program with no variable of ours set.
fn switchyard(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .args(arguments)
        .env_remove("ASTRADIAL_ENV")
        .env_remove("SWITCHYARD_CONFIG")
        .env_remove("SWITCHYARD_ADMIN_URL")
        .output()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A folder with a configuration that ends with `more`, and a directory of made-up rows.
fn instance(more: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("directory.db");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let scripts = [sync::schema::SQLITE_TABLES, sync::schema::ROWS];
    runtime.block_on(sync::schema::run(&database, &scripts)).unwrap();
    let folder_name = folder.path().display();
    let text = format!("state_dir = \"{folder_name}\"\ndatabase.url = \"sqlite://{}\"\n{more}", database.display());
    fs::write(folder.path().join("switchyard.toml"), text).unwrap();
    folder
}

fn explain(instance: &Path, arguments: &[&str]) -> Output {
    let config = instance.join("switchyard.toml");
    switchyard(&[&["explain", "--config", config.to_str().unwrap()], arguments].concat())
}

fn explain_json(instance: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&stdout(&explain(instance, &[arguments, &["-o", "json"]].concat()))).unwrap()
}

#[test]
fn check_says_what_a_good_file_means() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/configs/valid/full.toml");
    let output = switchyard(&["check", "--config", file]);
    assert_eq!(code(&output), 0);
    assert!(stderr(&output).starts_with("fallback_did could not be held to the directory: "), "{}", stderr(&output));
    assert!(stdout(&output).contains("full.toml: good. This instance is prod.\n  listens on   udp:10.10.10.1:5060"));
}

#[test]
fn check_prints_every_fault_and_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    fs::write(&file, "colour = 1\n[sip]\nlisten = [\"udp:0.0.0.0:5060\"]\n").unwrap();
    let output = switchyard(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!((code(&output), stdout(&output).as_str()), (1, ""));
    let faults = stderr(&output);
    let lines: Vec<&str> = faults.lines().collect();
    assert!(lines[0].contains("bad.toml:1: colour: found an unknown key, expected one of "), "{faults}");
    assert!(lines[1].contains("bad.toml:3: sip.listen[0]: found \"udp:0.0.0.0:5060\", expected "), "{faults}");
    assert_eq!(lines[2..], ["2 faults"]);
}

#[test]
fn the_file_can_be_named_by_a_variable() {
    let output = Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .arg("check")
        .env("SWITCHYARD_CONFIG", "/nowhere/switchyard.toml")
        .output()
        .unwrap();
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).starts_with("/nowhere/switchyard.toml: found no readable file"));
}

#[test]
fn explain_tells_every_rule_of_an_inbound_call() {
    let instance = instance("");
    let output = explain(instance.path(), &["--from", "10.10.10.2", "08065978021"]);
    let expected = "\
INVITE 08065978021 from 10.10.10.2 over udp (tata)
   1. sender          sent by tata, so the call is inbound
   2. called          the called number is +918065978021
   3. row             the number's row says staging
   4. target          environment staging takes the call
   limit organisation_calls Asha Clinics  at most 30 calls
=> forwarded to environment staging
   at udp:10.10.10.3:5080 from 10.10.10.1:5060
   the called number stays as received
   this instance is prod, its directory of generation 1
";
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str(), code(&output)), (expected, "", 0));
}

/// Without the running process: the limits that are set, in the order in which they are asked, and nothing of what is used.
#[test]
fn explain_lists_the_limits_that_are_set() {
    let instance = instance(
        "[[trunk]]\nname = \"tata\"\ngateways = [\"udp:10.10.10.2:5060\", \"udp:10.10.10.6:5060\"]\n\
         [trunk.quota]\nmax_channels = 30\nprod_reserve = 10\ngateway_channels = [20, 0]\n\
         [environments.prod]\ntargets = [\"udp:10.10.10.1:5070\"]\n\
         [environments.staging]\ntargets = [\"udp:10.10.10.3:5080\"]\n\
         [environments.staging.quota]\nmax_channels = 4\ncalls_per_second = 2\ndaily_calls = 100\n\
         [limits]\nrequests_per_second = 50\ndid_calls_per_second = 3\n",
    );
    let listed = |arguments: &[&str]| {
        let answer = explain_json(instance.path(), arguments);
        let all = answer["limits"].as_array().cloned().unwrap_or_default();
        assert!(all.iter().all(|limit| limit.get("used").is_none() && limit["is_full"] == false), "{all:?}");
        let told = |limit: &Value| format!("{} {} {}", limit["limit"], limit["of"], limit["allowed"]).replace('"', "");
        all.iter().map(told).collect::<Vec<String>>()
    };
    let of_source = |ip: &str| format!("over_rate {ip} 50");
    let inbound = [
        of_source("10.10.10.2"),
        "organisation_calls Asha Clinics 30".to_owned(),
        "environment_calls staging 4".to_owned(),
        "prod_reserve tata 20".to_owned(),
        "trunk_calls tata 30".to_owned(),
        "gateway_calls 10.10.10.2:5060 20".to_owned(),
        "did_rate +918065978021 3".to_owned(),
        "environment_rate staging 2".to_owned(),
    ];
    assert_eq!(listed(&["--from", "10.10.10.2:5060", "+918065978021"]), inbound);
    let caller = ["--from", "10.10.10.3", "--caller", "org_a1b2c3d4_1001", "+447700900123"];
    let outbound = listed(&caller);
    assert_eq!(outbound.last().unwrap(), "daily_calls staging 100", "{outbound:?}");
    assert!(outbound.contains(&"organisation_calls Asha Clinics 30".to_owned()), "{outbound:?}");
    let text = stdout(&explain(instance.path(), &caller));
    let line = "   limit daily_calls        staging              at most 100 calls today\n";
    assert!(text.lines().any(|found| found.split_whitespace().eq(line.split_whitespace())), "{text}");
    let unknown = listed(&["--from", "10.10.10.2:5060", "+918065089999"]);
    assert!(unknown.is_empty(), "what is refused before meets none: {unknown:?}");
    let emergency = listed(&["--from", "10.10.10.3", "--caller", "org_a1b2c3d4_1001", "112"]);
    assert!(emergency.is_empty(), "an emergency call passes them all: {emergency:?}");
}

#[test]
fn explain_has_a_stable_json_form() {
    let instance = instance(
        "[environments.prod]\ntargets = [\"udp:10.10.10.1:5070\"]\n[environments.oss]\ntargets = [\"tcp:10.10.10.4:5080\"]\ncalled_number = \"national\"\n",
    );
    let answer = explain_json(instance.path(), &["--from", "10.10.10.2", "sip:+918065978025@10.10.10.1;user=phone"]);
    let expected = serde_json::json!({
        "environment": "prod",
        "generation": 1,
        "from": { "ip": "10.10.10.2", "transport": "udp", "party": "tata" },
        "method": "INVITE",
        "called": "sip:+918065978025@10.10.10.1;user=phone",
        "direction": "inbound",
        "number": "+918065978025",
        "outcome": "forward",
        "party": "environment oss",
        "peers": [{ "address": "tcp:10.10.10.4:5080", "listener": "10.10.10.1:5060" }],
        "called_number": "08065978025",
        "steps": [
            { "rule": "sender", "told": "sent by tata, so the call is inbound" },
            { "rule": "called", "told": "the called number is +918065978025" },
            { "rule": "row", "told": "the number's row says oss" },
            { "rule": "target", "told": "environment oss takes the call" }
        ],
        "limits": [{ "limit": "organisation_calls", "of": "Asha Clinics", "allowed": 30, "is_full": false }]
    });
    assert_eq!(answer, expected);
}

#[test]
fn explain_ends_with_2_when_a_call_is_refused() {
    let instance = instance("dispatch.not_in_service = \"480\"");
    for (number, status, reason) in [
        ("+918065978015", 480, "not_in_service"),
        ("+918065978018", 480, "not_in_service"),
        ("+918065978020", 480, "not_in_service"),
        ("+918065089999", 404, "unknown_did"),
        ("alice", 404, "not_a_number"),
        ("sips:+918065978021@10.10.10.1", 416, "secure_scheme"),
        ("http:+918065978021", 416, "unknown_scheme"),
        ("sip:+918065978021@203.0.113.7", 403, "foreign_target"),
    ] {
        let output = explain(instance.path(), &["--from", "10.10.10.2", number]);
        assert_eq!(code(&output), 2, "{number}: {}", stderr(&output));
        let told = stdout(&output);
        assert!(told.contains(&format!("=> refused with {status} ")) && told.contains(reason), "{told}");
        let answer = explain_json(instance.path(), &["--from", "10.10.10.2", number]);
        assert_eq!((&answer["refusal"]["status"], &answer["refusal"]["reason"]), (&status.into(), &reason.into()));
    }
}

#[test]
fn explain_knows_every_kind_of_sender_and_request() {
    let instance = instance("");
    let outbound = explain_json(instance.path(), &["--from", "10.10.10.1:5070", "+447700900123"]);
    assert_eq!((&outbound["direction"], &outbound["party"]), (&"outbound".into(), &"trunk tata".into()));
    assert_eq!(outbound["from"]["port"], 5070);
    let hairpin = explain_json(instance.path(), &["--from", "10.10.10.3", "+918065978001"]);
    assert!(hairpin["steps"].as_array().unwrap().iter().any(|step| step["rule"] == "hairpin"));
    let stranger = explain(instance.path(), &["--from", "203.0.113.9", "+918065978001"]);
    assert_eq!(code(&stranger), 2);
    assert!(stdout(&stranger).contains("=> silence"));
    let options = explain(instance.path(), &["--from", "10.10.10.2", "--method", "OPTIONS", "+918065978001"]);
    assert_eq!(code(&options), 0);
    assert!(stdout(&options).contains("=> answered by the proxy itself"));
    let register = explain_json(instance.path(), &["--from", "10.10.10.2", "--method", "REGISTER", "+918065978001"]);
    assert_eq!(register["refusal"]["status"], 403);
}

#[test]
fn explain_asks_for_the_port_where_only_it_tells_parties_apart() {
    let loopback =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/configs/valid/loopback.toml"));
    let instance = instance(&loopback.unwrap());
    let output = explain(instance.path(), &["--from", "127.0.0.1", "+918065978001"]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("may be gateway or prod or staging or oss: say the port"), "{}", stderr(&output));
    let output = explain(instance.path(), &["--from", "127.0.0.1:5062", "+918065978001"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let tcp = explain(instance.path(), &["--from", "127.0.0.1:5062", "--transport", "tcp", "+918065978001"]);
    assert_eq!((code(&tcp), stderr(&tcp).trim()), (1, "no listener of sip.listen is of transport tcp"));
}

#[test]
fn explain_knows_interfaces() {
    let interfaces =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/configs/valid/interfaces.toml"));
    let instance = instance(&interfaces.unwrap());
    let from = |interface: &str| {
        let arguments = ["--from", "10.10.10.2", "--interface", interface, "+918065978001"];
        explain_json(instance.path(), &arguments)["from"]["party"].clone()
    };
    assert_eq!((from("wg0"), from("wg1"), from("eth0")), ("tata".into(), "oss".into(), Value::Null));
    let output = explain(instance.path(), &["--from", "10.10.10.2", "+918065978001"]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("may be tata or oss"));
}

#[test]
fn explain_without_a_directory_says_why() {
    let instance = instance("");
    fs::remove_file(instance.path().join("directory.db")).unwrap();
    let output = explain(instance.path(), &["--from", "10.10.10.2", "+918065978001"]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("found no file") && stderr(&output).contains("directory.db"));
}

/// An error of the command line is an error, and no refusal: 1, not 2.
#[test]
fn a_wrong_command_line_ends_with_1() {
    for arguments in [
        &["explian"][..],
        &["explain", "--from", "10.10.10.0/24", "+918065978001"],
        &["explain", "--from", "10.10.10.2", "--method", "BYE", "+918065978001"],
        &["explain", "--from", "10.10.10.2", "--transport", "tls", "+918065978001"],
        &["explain", "+918065978001"],
        &["check", "--colour"],
    ] {
        let output = switchyard(arguments);
        assert_eq!(code(&output), 1, "{arguments:?}");
        assert!(stderr(&output).contains("error: "), "{arguments:?}");
    }
}

#[test]
fn help_and_version_help() {
    let version = switchyard(&["--version"]);
    assert_eq!(code(&version), 0);
    let expected = format!("switchyard {} (", env!("CARGO_PKG_VERSION"));
    assert!(stdout(&version).starts_with(&expected) && stdout(&version).contains("-linux-"), "{}", stdout(&version));
    let help = switchyard(&["--help"]);
    assert_eq!(code(&help), 0);
    for command in ["run", "check", "explain", "caller-id", "status", "demo"] {
        assert!(stdout(&help).contains(&format!("\n  {command} ")), "{command}");
        let help = switchyard(&[command, "--help"]);
        assert_eq!((code(&help), stderr(&help).as_str()), (0, ""), "{command}");
    }
    assert!(stdout(&switchyard(&["explain", "--help"])).contains("Exit code: 0 the call is forwarded"));
    assert_eq!(code(&switchyard(&[])), 1, "nothing was asked");
}

fn db(instance: &Path, arguments: &[&str]) -> Output {
    let config = instance.join("switchyard.toml");
    switchyard(&[&["db"], arguments, &["--config", config.to_str().unwrap()]].concat())
}

#[test]
fn db_plan_prints_a_script_and_connects_to_nothing() {
    let instance = instance("[database.tables]\nusers = \"people\"\n");
    let url = "mysql://root:hunter2@127.0.0.1:1/pbx_api_db";
    let output = db(instance.path(), &["plan", "--url", url, "--account", "proxy@10.10.10.1"]);
    let script = stdout(&output);
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    assert!(script.starts_with("-- our own table switchyard_leases\nCREATE TABLE IF NOT EXISTS "), "{script}");
    assert!(script.contains("GRANT UPDATE (`routing_environment`) ON `did_numbers` TO 'proxy'@'10.10.10.1';"));
    assert!(script.contains("DELIMITER //\nCREATE OR REPLACE ") && script.contains("AFTER INSERT ON `people`"));
    assert!(!script.contains("hunter2"));
    let output = db(instance.path(), &["plan", "--url", url, "--account", "proxy@10.10.10.1", "--no-triggers"]);
    assert!(!stdout(&output).contains("TRIGGER"));
    // Nobody knows from where the server sees us: it has to be said.
    let output = db(instance.path(), &["plan", "--url", "mysql://root:hunter2@10.10.10.9/pbx_api_db"]);
    assert_eq!((code(&output), stdout(&output).as_str()), (1, ""));
    assert!(stderr(&output).starts_with("--account: found none, expected the account of database.url"));
}

#[test]
fn db_migrate_is_the_only_one_that_makes_tables_and_may_be_run_again() {
    let instance = instance("");
    let own_tables = || {
        let tables = Command::new("sqlite3").arg(instance.path().join("directory.db")).arg(".tables").output().unwrap();
        stdout(&tables).matches("switchyard_").count()
    };
    assert_eq!(code(&explain(instance.path(), &["--from", "10.10.10.2", "+918065978021"])), 0);
    assert_eq!(code(&db(instance.path(), &["plan"])), 0);
    assert_eq!(own_tables(), 0);
    let url = format!("sqlite://{}/directory.db", instance.path().display());
    for _ in 0..2 {
        let output = db(instance.path(), &["migrate", "--url", &url]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert!(stdout(&output).contains("our own table switchyard_audit\n5 statements were run"));
        assert_eq!(own_tables(), 5);
    }
    let output =
        db(instance.path(), &["migrate", "--url", "postgres://root:hunter2@127.0.0.1:1/pbx", "--account", "x"]);
    assert_eq!(code(&output), 1);
    let told = stderr(&output);
    assert!(told.starts_with("postgres://root:***@127.0.0.1:1/pbx: the database does not open: "), "{told}");
    assert_eq!(code(&db(instance.path(), &["migrate"])), 1, "without a URL nothing is run");
}

/// The made-up dialplan has one number of each kind of difference, and the range that no pattern had.
#[test]
fn import_asterisk_says_which_numbers_would_go_elsewhere() {
    let folder = instance("");
    let config = folder.path().join("switchyard.toml");
    let plan = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/asterisk/ext_tata_gateway.conf");
    let import = |more: &[&str]| {
        let arguments = ["import-asterisk", "--config", config.to_str().unwrap(), plan];
        switchyard(&[&arguments, more].concat())
    };
    let endpoints = ["--endpoint", "cloud-endpoint-stage=staging", "--endpoint", "cloud-endpoint-oss=oss"];
    let output = import(&[&endpoints[..], &["-o", "json"]].concat());
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    let found: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let differences = found["differences"].as_array().unwrap();
    let of = |kind: &str| -> Vec<&str> {
        let of_kind = differences.iter().filter(|one| one["kind"] == kind);
        of_kind.map(|one| one["number"].as_str().unwrap()).collect()
    };
    assert_eq!(of("elsewhere"), ["+918065978009"]);
    assert_eq!(of("other_organisation"), ["+918065978011"]);
    assert_eq!(of("two_ways"), ["+918065978012"]);
    assert_eq!(of("missing_in_directory"), ["+918065978016", "+918065978020"]);
    let missing = of("missing_in_dialplan");
    assert!(missing.contains(&"+918065080700") && missing.iter().all(|number| number.starts_with("+918065080")));
    assert_eq!(found["same"].as_u64().unwrap() + 5, found["in_dialplan"].as_u64().unwrap());
    assert_eq!((found["patterns"].as_array().unwrap().len(), &found["odd_lines"]), (3, &serde_json::json!([])));
    let text = stdout(&import(&endpoints));
    assert!(
        text.contains(
            "+918065978011  dialplan: prod (org_a1b2c3d4__incoming); database: prod, Brindavan Foods (org_b2c3d4e5_)"
        ),
        "{text}"
    );
    // An endpoint of which nobody said where it leads is no guess.
    let text = stdout(&import(&[]));
    assert!(text.contains("+918065978025  dialplan: endpoint cloud-endpoint-oss; database: oss"), "{text}");
}

#[test]
fn import_asterisk_says_what_it_cannot_read() {
    let folder = instance("");
    let (config, plan) = (folder.path().join("switchyard.toml"), folder.path().join("extensions.conf"));
    let import = |text: &str| {
        fs::write(&plan, text).unwrap();
        switchyard(&["import-asterisk", "--config", config.to_str().unwrap(), plan.to_str().unwrap()])
    };
    let output = import("[tata-inbound]\nexten => _X.,1,Hangup()\n");
    assert_eq!((code(&output), stdout(&output).as_str()), (1, ""));
    assert!(stderr(&output).contains("found no number, expected lines such as exten => "), "{}", stderr(&output));
    let output = import(
        "exten => 918065978000,1,Goto(elsewhere)\nexten => 918065978001,1,Goto(org_a1b2c3d4__incoming,918065978001,1)\n",
    );
    assert_eq!(code(&output), 2);
    assert!(
        stdout(&output).contains("line 1: found \"Goto(elsewhere)\", expected Goto(CONTEXT,NUMBER,PRIORITY)"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn init_writes_a_file_that_check_accepts_and_never_writes_over_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("switchyard.toml");
    let init = |more: &[&str]| switchyard(&[&["init", "--config", file.to_str().unwrap()], more].concat());
    let output = init(&["--listen", "0.0.0.0"]);
    assert_eq!((code(&output), file.exists()), (1, false));
    assert!(stderr(&output).contains("sip.listen[0]: found \"udp:0.0.0.0:5060\""), "{}", stderr(&output));
    let state_dir = folder.path().to_str().unwrap();
    let wanted = ["--listen", "127.0.0.1", "--prod", "udp:127.0.0.1:5070", "--state-dir", state_dir];
    let output = init(&wanted);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("1. switchyard doctor --config "), "{}", stdout(&output));
    assert_eq!(code(&switchyard(&["check", "--config", file.to_str().unwrap()])), 0);
    let before = fs::read_to_string(&file).unwrap();
    let again = init(&wanted);
    assert_eq!((code(&again), fs::read_to_string(&file).unwrap()), (1, before));
    assert!(stderr(&again).contains("nothing was written"), "{}", stderr(&again));
}

/// What is wrong is named with what to do, and what is good is said too.
#[test]
fn doctor_names_what_is_bad_and_what_to_do() {
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = free.local_addr().unwrap();
    let more = format!(
        "[sip]\nlisten = [\"udp:{taken}\"]\n[[trunk]]\nname = \"tata\"\ngateways = [\"udp:127.0.0.2:1\"]\n\
         [environments.prod]\ntargets = [\"udp:127.0.0.3:2\"]\n[environments.staging]\ntargets = [\"udp:127.0.0.4:3\"]\n"
    );
    let folder = instance(&more);
    let config = folder.path().join("switchyard.toml");
    let doctor = |more: &[&str]| switchyard(&[&["doctor", "--config", config.to_str().unwrap()], more].concat());
    let output = doctor(&["-o", "json"]);
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let verdict = |what: &str| {
        let findings = report["findings"].as_array().unwrap();
        let finding = findings.iter().find(|finding| finding["what"] == what);
        finding.map(|finding| (finding["verdict"].as_str().unwrap().to_owned(), finding["found"].to_string())).unwrap()
    };
    assert_eq!(report["verdict"], "bad");
    assert_eq!(verdict("listener").0, "bad");
    assert!(verdict("listener").1.contains("is taken, and no proxy of this state folder runs"), "{report:#}");
    assert_eq!(verdict("state folder").0, "good");
    assert_eq!(verdict("route").0, "good");
    // Nobody listens at those ports, and their machine says so: the datagram has arrived.
    assert!(verdict("datagrams").1.contains("1392 bytes reach 127.0.0.2:1 uncut"), "{report:#}");
    assert!(verdict("triggers").1.contains("there is no change log"), "{report:#}");
    assert!(verdict("database").1.contains("changes are found by compare"), "{report:#}");
    assert!(verdict("own tables").1.contains("switchyard_leases: not found"), "{report:#}");
    assert_eq!((verdict("process").0.as_str(), verdict("token keys").0.as_str()), ("warning", "good"));
    assert_eq!((verdict("configuration").0.as_str(), verdict("columns").0.as_str()), ("good", "good"));
    assert!(verdict("rights").0 == "good" && verdict("rights").1.contains("may read the four tables, and no more"));
    assert_eq!(verdict("snapshot").0, "warning", "none was ever written");
    drop(free);
    let output = doctor(&[]);
    assert_eq!(code(&output), 0, "{}", stdout(&output));
    assert!(stdout(&output).contains(&format!("good  listener       udp:{taken} is free")), "{}", stdout(&output));
    // A file that everybody may write, columns that are not there: what the directory does without, then what it needs.
    let database = folder.path().join("directory.db");
    let harmed = |script: &'static str| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(sync::schema::run(&database, &[script])).unwrap();
        let output = doctor(&[]);
        (code(&output), stdout(&output))
    };
    fs::set_permissions(&database, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let (code_of, text) = harmed("ALTER TABLE did_numbers DROP COLUMN is_default");
    assert_eq!(code_of, 0, "{text}");
    assert!(text.contains("LOOK  rights") && text.contains("everybody on this machine may write"), "{text}");
    assert!(
        text.contains("LOOK  columns        did_numbers.is_default is not there: no organisation has a default"),
        "{text}"
    );
    let (code_of, text) = harmed("ALTER TABLE users RENAME COLUMN extension TO ext");
    assert_eq!(code_of, 2, "{text}");
    assert!(text.contains("BAD   database") && text.contains("table users: column extension not found"), "{text}");
    // Keys that others can read, and a database that is gone.
    let keys = folder.path().join("token.keys");
    fs::write(&keys, format!("1 {} active\n", "5a".repeat(32))).unwrap();
    fs::set_permissions(&keys, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fs::remove_file(folder.path().join("directory.db")).unwrap();
    let output = doctor(&[]);
    let text = stdout(&output);
    assert_eq!(code(&output), 2, "{text}");
    assert!(text.contains("BAD   database") && text.contains("BAD   token keys"), "{text}");
    // What cannot be read is told as `check` tells it, and nothing is looked at.
    fs::write(&config, "bogus = 1\n").unwrap();
    let output = doctor(&["-o", "json"]);
    assert_eq!((code(&output), stdout(&output).as_str()), (1, ""));
    assert!(stderr(&output).contains("switchyard.toml:1: bogus: found an unknown key"), "{}", stderr(&output));
}

#[test]
fn completions_and_man_pages_are_made_from_the_command_line() {
    for (shell, begins) in [("bash", "_switchyard()"), ("zsh", "#compdef switchyard"), ("fish", "# Print an optspec")] {
        let output = switchyard(&["completions", shell]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert!(
            stdout(&output).starts_with(begins) && stdout(&output).contains("panic"),
            "{shell}: {}",
            stdout(&output)
        );
    }
    assert_eq!(code(&switchyard(&["completions", "cmd"])), 1);
    let folder = tempfile::tempdir().unwrap();
    let output = switchyard(&["man", &folder.path().display().to_string()]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    for page in ["switchyard.1", "switchyard-run.1", "switchyard-did-set.1", "switchyard-token-add.1"] {
        let text = fs::read_to_string(folder.path().join(page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
    assert_eq!(code(&switchyard(&["man", "/nowhere"])), 1);
}
