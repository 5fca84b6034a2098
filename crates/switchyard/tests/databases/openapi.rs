//! The API is what its OpenAPI document says. schemathesis asks the program, on a real MariaDB, all that the document
//! lets it be asked and much that it does not: nothing is an error of ours, and every answer is as it was described.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::bench;
use crate::bench::Bench;
use crate::server::Engine;
use crate::stage::Stage;
use crate::url;

const PATIENCE: Duration = Duration::from_secs(60);
/// Where `cargo xtask test` installs it.
const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools/schemathesis/bin");
/// Whether it lets in whoever shows nothing is asked elsewhere: after ten that are wrong it answers 429, and not 401.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,unsupported_method,allow_header_conformance,missing_required_header";
/// Below the requests that one client may make in a second: a request that is refused for its rate asks nothing.
const RATE: &str = "90/s";

fn tool(name: &str) -> Command {
    let path = PathBuf::from(TOOLS).join(name);
    assert!(path.exists(), "{} is not there: `cargo xtask test` installs it", path.display());
    Command::new(path)
}

/// What a tool prints that must go well.
fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}\n{printed}");
    printed
}

/// The program with its listener, and an admin's token.
struct House {
    stage: Stage,
    base: String,
    token: String,
    _bench: Bench,
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
        let made = stage.json(&["token", "add", "schemathesis", "--role", "admin", "--reason", "a test of the API"]);
        let token = made["token"].as_str().unwrap().to_owned();
        House { stage, base: format!("http://{host}/api/v1"), token, _bench: bench }
    }

    /// The document, as the program serves it.
    fn document(&self, folder: &Path) -> PathBuf {
        let host = self.base.strip_prefix("http://").unwrap().split('/').next().unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let token = &self.token;
        let request =
            format!("GET /api/v1/openapi.json HTTP/1.0\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"), "{head}");
        let path = folder.join("openapi.json");
        std::fs::write(&path, body).unwrap();
        path
    }

    /// Asks so many things of each operation.
    fn ask(&self, folder: &Path, examples: &str, phases: &str, seed: &str) {
        let mut run = tool("st");
        run.current_dir(folder).arg("run").arg(self.document(folder)).args(["--url", &self.base]);
        run.args(["--checks", CHECKS, "--max-examples", examples, "--phases", phases, "--seed", seed]);
        run.args(["--rate-limit", RATE, "--no-color", "--warnings", "off", "--request-timeout", "30"]);
        // A stream of events has no end; tests of the listener read it.
        run.args(["--exclude-path", "/calls/follow", "--continue-on-failure"]);
        let printed = succeeds(run.arg("--header").arg(format!("Authorization: Bearer {}", self.token)));
        assert!(printed.contains("No issues found"), "{printed}");
        // It still serves calls, and nothing in it has failed.
        assert!(!self.stage.log().contains("panicked"), "{}", self.stage.log());
        assert!(self.stage.json(&["status"])["directory"]["loaded"] == true);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_is_openapi_3_1() {
    let house = House::open(197).await;
    let folder = tempfile::tempdir().unwrap();
    let document = house.document(folder.path());
    let printed = succeeds(tool("openapi-spec-validator").args(["--schema", "3.1"]).arg(document));
    assert!(printed.contains("OK"), "{printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_answers_as_its_document_says() {
    let house = House::open(198).await;
    let folder = tempfile::tempdir().unwrap();
    house.ask(folder.path(), "4", "examples,coverage,fuzzing", "20261122");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "full set: it asks hundreds of things of each operation, in sequences too, for minutes"]
async fn the_api_answers_as_its_document_says_whatever_it_is_asked() {
    let house = House::open(199).await;
    let folder = tempfile::tempdir().unwrap();
    for seed in ["1", "2"] {
        house.ask(folder.path(), "50", "examples,coverage,fuzzing,stateful", seed);
    }
}
