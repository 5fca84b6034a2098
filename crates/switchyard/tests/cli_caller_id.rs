//! What the command line says of caller IDs: `explain --caller`, `caller-id lint`, and what `check` holds a fallback to.
#![expect(clippy::unwrap_used, reason = "the lint's leave for tests does not reach the functions they share")]

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

const TRUNK: &str = "[caller_id]\nendpoint_header = \"X-Astradial-Endpoint\"\n\
     [[trunk]]\nname = \"tata\"\ngateways = [\"udp:10.10.10.2:5060\"]\nfallback_did = \"+918065080729\"\n";

/// A folder with a configuration that ends with `more`, and a directory of the made-up rows, changed by `sql`.
fn instance(more: &str, sql: &'static str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("directory.db");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let scripts = [sync::schema::SQLITE_TABLES, sync::schema::ROWS, sql];
    runtime.block_on(sync::schema::run(&database, &scripts)).unwrap();
    let state = folder.path().display();
    let text = format!("state_dir = \"{state}\"\ndatabase.url = \"sqlite://{}\"\n{more}", database.display());
    fs::write(folder.path().join("switchyard.toml"), text).unwrap();
    folder
}

fn asked(instance: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
    command.args(arguments).arg("--config").arg(instance.join("switchyard.toml"));
    command.env_remove("ASTRADIAL_ENV").env_remove("SWITCHYARD_CONFIG").output().unwrap()
}

/// Exit code, what was answered, and what was said to be wrong.
fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn json_of(instance: &Path, arguments: &[&str]) -> Value {
    let (_, text, _) = told(&asked(instance, &[arguments, &["-o", "json"]].concat()));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn explain_shows_who_calls_every_rule_and_the_headers_that_leave() {
    let instance = instance(TRUNK, "");
    let question = ["explain", "--from", "10.10.10.3", "--caller", "org_a1b2c3d4_1001", "+447700900123"];
    let expected = "\
INVITE +447700900123 from 10.10.10.3 over udp (staging)
   1. sender          sent by staging, so the call is outbound
   2. called          the called number is +447700900123
   3. trunk           trunk tata takes the call
  org_a1b2c3d4_1001 of Asha Clinics calls, and is shown:
      a user of Asha Clinics calls, by From
      rule 1 (the number sent with the call): there is none
      rule 2 (the user's outbound DID): +918065978003 won
   P-Asserted-Identity: <sip:+918065978003@10.10.10.3:5060>
   From: <sip:+918065978003@10.10.10.3:5060>;tag=explain
   limit organisation_calls Asha Clinics  at most 30 calls
=> forwarded to trunk tata
   at udp:10.10.10.2:5060 from 10.10.10.1:5060
   the called number stays as received
   this instance is prod, its directory of generation 1
";
    assert_eq!(told(&asked(instance.path(), &question)), (0, expected.to_owned(), String::new()));
}

#[test]
fn explain_says_why_each_rule_lost() {
    let sql = "UPDATE users SET outbound_did = '+918065978011' WHERE asterisk_endpoint = 'org_a1b2c3d4_1001';
               UPDATE did_numbers SET status = 'ported' WHERE number = '918065978001';";
    let instance = instance(TRUNK, sql);
    let question = ["explain", "--from", "10.10.10.3", "--caller", "org_a1b2c3d4_1001", "+447700900123"];
    let answer = json_of(instance.path(), &question);
    let expected = json!({
        "organisation": "Asha Clinics",
        "user": "org_a1b2c3d4_1001",
        "steps": [
            "a user of Asha Clinics calls, by From",
            "rule 1 (the number sent with the call): there is none",
            "rule 2 (the user's outbound DID): +918065978011 lost, it is another organisation's",
            "rule 3 (the organisation's default DID): +918065978001 lost, it is not active and assigned",
            "rule 4 (the organisation's first assigned DID): +918065978000 won",
        ],
        "headers": [
            "P-Asserted-Identity: <sip:+918065978000@10.10.10.3:5060>",
            "From: <sip:+918065978000@10.10.10.3:5060>;tag=explain",
        ],
    });
    assert_eq!(answer["identity"], expected);
    let unknown = json_of(instance.path(), &["explain", "--from", "10.10.10.3", "--caller", "1001", "+447700900123"]);
    let expected = json!([
        "From is an extension of several organisations: it means none",
        "the owner of the number in From leads to nobody",
        "rule 5 (the trunk's fallback DID): +918065080729 won",
    ]);
    assert_eq!(unknown["identity"]["steps"], expected);
    assert_eq!(unknown["identity"].get("organisation"), None);
}

#[test]
fn explain_ends_with_2_where_the_identity_policy_refuses() {
    let trunk = TRUNK.replace("fallback_did", "# fallback_did");
    let instance = instance(&trunk, "");
    let question = ["explain", "--from", "10.10.10.3", "--caller", "nobody", "+447700900123"];
    let (code, text, _) = told(&asked(instance.path(), &question));
    assert!(code == 2 && text.contains("=> refused with 403 ") && text.contains("(no_caller_id)"), "{code}: {text}");
    assert!(text.contains("the trunk has no fallback DID"), "{text}");
}

#[test]
fn check_refuses_a_fallback_that_an_organisation_owns_unless_it_is_named() {
    let owned = TRUNK.replace("+918065080729", "+918065978005");
    for (more, expected) in [
        (TRUNK.to_owned(), 0),
        (owned.clone(), 1),
        (format!("{owned}fallback_owner = \"Coral Logistics\"\n"), 1),
        (format!("{owned}fallback_owner = \"Asha Clinics\"\n"), 0),
        (format!("{owned}fallback_owner = \"0000000a-0000-4000-8000-a1b2c3d40000\"\n"), 0),
    ] {
        let instance = instance(&more, "");
        let (code, text, faults) = told(&asked(instance.path(), &["check"]));
        assert!(code == expected && text.contains(": good. This instance is prod."), "{code}: {text}{faults}\n{more}");
        let fault = "trunk tata: fallback_did: found +918065978005, which Asha Clinics has, expected a number of the \
                     operator, or fallback_owner = \"Asha Clinics\"\n";
        assert_eq!(faults, if expected == 0 { "" } else { fault });
    }
}

#[test]
fn lint_finds_nothing_wrong_with_callers_who_have_their_own_numbers() {
    let instance = instance(
        TRUNK,
        "DELETE FROM users WHERE username = 'dora.quist'; DELETE FROM organizations WHERE name = 'Dune Labs';",
    );
    let (code, text, faults) = told(&asked(instance.path(), &["caller-id", "lint"]));
    let expected = "0 findings; 3 organisations and 7 active users looked at\n";
    assert_eq!((code, text.as_str(), faults.as_str()), (0, expected, ""));
}

/// Rule 4, rule 5, a number that is another's, one of another carrier, an endpoint that two users have.
const DIRT: &str = "UPDATE did_numbers SET is_default = FALSE WHERE number = '+918065080700';
    UPDATE users SET outbound_did = '918065978011' WHERE asterisk_endpoint = 'org_a1b2c3d4_1003';
    UPDATE did_numbers SET provider = 'jio', trunk_id = 'j-1' WHERE number = '918065978010';
    UPDATE users SET asterisk_endpoint = 'org_a1b2c3d4_1001' WHERE username = 'tom.okoro';";

#[test]
fn lint_lists_every_caller_that_is_not_shown_by_a_number_of_its_own_choice() {
    let instance = instance(&format!("{TRUNK}providers = [\"tata\"]\n"), DIRT);
    let (code, text, faults) = told(&asked(instance.path(), &["caller-id", "lint"]));
    let expected = "\
org_a1b2c3d4_1003 of Asha Clinics: the number chosen is not shown: +918065978001
   rule 2 (the user's outbound DID): +918065978011 lost, it is another organisation's
Brindavan Foods: the carrier may refuse the number: +918065978010
   +918065978010 has provider \"jio\" and trunk_id \"j-1\", which no trunk names; tata names others
org_a1b2c3d4_1001 of Brindavan Foods: the name does not lead to this caller: +918065978003
   a user of Asha Clinics calls, by the PBX's header
Coral Logistics: rule 4, the organisation's first number: +918065080700
   rule 2 (the user's outbound DID): there is none
   rule 3 (the organisation's default DID): there is none
org_c3d4e5f6_1001 of Coral Logistics: rule 4, the organisation's first number: +918065080700
   rule 2 (the user's outbound DID): there is none
   rule 3 (the organisation's default DID): there is none
Dune Labs: rule 5, the trunk's fallback: +918065080729
   Dune Labs is not active
org_d4e5f607_1001 of Dune Labs: rule 5, the trunk's fallback: +918065080729
   Dune Labs is not active
7 findings; 4 organisations and 8 active users looked at
";
    assert_eq!((code, text.as_str(), faults.as_str()), (2, expected, ""));
    let report = json_of(instance.path(), &["caller-id", "lint"]);
    let first = json!({
        "organisation": "Asha Clinics",
        "organisation_id": "0000000a-0000-4000-8000-a1b2c3d40000",
        "user": "org_a1b2c3d4_1003",
        "kind": "unusable",
        "number": "+918065978001",
        "trunk": "tata",
        "reasons": ["rule 2 (the user's outbound DID): +918065978011 lost, it is another organisation's"],
    });
    assert_eq!(report["findings"][0], first);
    assert_eq!((&report["generation"], &report["organisations"], &report["users"]), (&json!(1), &json!(4), &json!(8)));
}

#[test]
fn lint_asks_each_environment_and_a_trunk_without_fallback() {
    let own = "[environments.prod]\ntargets = [\"udp:10.10.10.1:5070\"]\norganisations = [\"Asha Clinics\", \"Dune Labs\"]\n\
               [environments.staging]\ntargets = [\"udp:10.10.10.3:5080\"]\norganisations = [\"Brindavan Foods\"]\n";
    let instance = instance(&format!("{}{own}", TRUNK.replace("fallback_did", "# fallback_did")), "");
    let report = json_of(instance.path(), &["caller-id", "lint"]);
    let found = |finding: &Value| (finding["organisation"].clone(), finding["kind"].clone(), finding["number"].clone());
    let findings: Vec<_> = report["findings"].as_array().unwrap().iter().map(found).collect();
    let finding = |name: &str, kind: &str| (json!(name), json!(kind), Value::Null);
    let coral = finding("Coral Logistics", "not_allowed");
    let dune = finding("Dune Labs", "refused");
    assert_eq!(findings, [coral.clone(), coral.clone(), coral, dune.clone(), dune]);
}

#[test]
fn lint_says_why_it_has_no_answer() {
    let instance = instance(TRUNK, "");
    fs::remove_file(instance.path().join("directory.db")).unwrap();
    let (code, text, faults) = told(&asked(instance.path(), &["caller-id", "lint"]));
    assert!(code == 1 && text.is_empty() && faults.contains("directory.db"), "{code}: {text}{faults}");
    fs::write(instance.path().join("switchyard.toml"), "colour = 1\n").unwrap();
    assert_eq!(asked(instance.path(), &["caller-id", "lint"]).status.code(), Some(1));
}
