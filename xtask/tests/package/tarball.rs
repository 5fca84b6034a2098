//! The tarballs: on Debian by hand, and the static program where there is nothing else.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::process::{PATIENCE, Place, Process, text_of, until};

use crate::machine::{Machine, first_child, text};
use crate::{ADDRESSES, called, documented, one_call, packages, started};

/// The name of the folder in a tarball.
fn folder_of(tarball: &Path) -> &str {
    tarball.file_name().unwrap().to_str().unwrap().strip_suffix(".tar.gz").unwrap()
}

/// The tarball of the static program.
pub(crate) fn static_tarball() -> &'static PathBuf {
    packages().static_tarball.as_ref().expect(
        "SWITCHYARD_STATIC names no program: `cargo xtask test --full` builds it, or \
         cargo build --release --target x86_64-unknown-linux-musl --bin switchyard",
    )
}

/// By hand, line by line as the page of installation says.
#[test]
fn a_tarball_serves_as_the_package_does() {
    let machine = Machine::boot("tarball", &ADDRESSES);
    machine.online("apt-get --quiet update && apt-get --quiet install --yes --no-install-recommends sqlite3");
    let tarball = &packages().tarball;
    fs::copy(tarball, machine.file("/tmp").join(tarball.file_name().unwrap())).unwrap();
    let block = documented("tar --extract");
    let documented_name = block.split_whitespace().find(|word| word.ends_with(".tar.gz")).unwrap();
    let block = block.replace(documented_name.trim_end_matches(".tar.gz"), folder_of(tarball));
    machine.says(&format!("set -e\ncd /tmp\n{block}"));
    let files = format!("/tmp/{}", folder_of(tarball));
    let numbers = |machine: &Machine| {
        let rows = "fixtures/directory/sqlite.sql fixtures/directory/rows.sql deploy/sql/sqlite.sql";
        let fill = "runuser -u switchyard -- sqlite3 /var/lib/switchyard/directory.db";
        machine.says(&format!("cd {files} && cat {rows} | {fill}"));
    };
    started(&machine, numbers);
    one_call(&machine);
}

/// In a root that has no C library, no shell, no device and no file of any system: the static program, its configuration
/// and its numbers, and a call.
#[test]
#[ignore = "full set: the static program is a build of its own"]
fn the_static_program_serves_where_there_is_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    let place = Place::here(folder.path());
    unpacked(static_tarball(), &root);
    fs::create_dir(root.join("state")).unwrap();
    filled(&place, &root.join("state/directory.db"));
    let init = "/switchyard init --config /switchyard.toml --state-dir /state";
    let said = within(&root, init);
    assert!(said.contains("/switchyard.toml is written, and good"), "{said}");
    // The peers of these tests answer calls, and nothing else.
    let configuration = root.join("switchyard.toml");
    let written = fs::read_to_string(&configuration).unwrap();
    fs::write(&configuration, format!("{written}\n[probe]\ninterval = \"0s\"\n")).unwrap();
    within(&root, "/switchyard check --config /switchyard.toml");

    let mut command = Command::new("unshare");
    let addresses: String = ADDRESSES.map(|address| format!("ip address add {address}/24 dev lo && ")).concat();
    let script = format!(
        "ip link set lo up && {addresses}exec env -i /usr/sbin/chroot \"$0\" /switchyard run --config /switchyard.toml"
    );
    command.args(["--net", "--pid", "--fork", "--kill-child", "sh", "-c", &script]).arg(&root);
    let log = folder.path().join("log");
    let process = Process::start(&mut command, &log, "util-linux");
    until(
        || format!("the static program to serve\n{}", text_of(&log)),
        PATIENCE,
        || text_of(&log).contains("switchyard serves") && text_of(&log).contains("directory published"),
    );
    called(&Place::in_network_of(folder.path(), first_child(process.id())));
    let said = within(&root, "/switchyard status --config /switchyard.toml");
    assert!(said.contains("55 DIDs"), "{said}");
    let said = within(&root, "/switchyard calls --config /switchyard.toml");
    assert!(said.contains("918065978000"), "{said}");
}

/// Nothing of the tarball but the program.
fn unpacked(tarball: &Path, root: &Path) {
    fs::create_dir(root).unwrap();
    let mut unpack = Command::new("tar");
    unpack.args(["--extract", "--gzip", "--strip-components=1", "--file"]).arg(tarball).arg("--directory").arg(root);
    let output = unpack.arg(format!("{}/switchyard", folder_of(tarball))).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(fs::read_dir(root).unwrap().count(), 1);
}

/// The made-up numbers, as a file of SQLite.
fn filled(place: &Place, database: &Path) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/directory");
    let mut sqlite = place.command("sqlite3");
    sqlite.arg(database);
    for script in ["sqlite.sql", "rows.sql"] {
        sqlite.arg(format!(".read {}", fixtures.join(script).display()));
    }
    let output = sqlite.output().expect("sqlite3 is missing; `cargo xtask test` installs it");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
}

/// Runs a command in a root with an empty environment; what it printed. Fails the test when it does.
fn within(root: &Path, command: &str) -> String {
    let output =
        Command::new("env").args(["-i", "/usr/sbin/chroot"]).arg(root).args(command.split(' ')).output().unwrap();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{command}: {}\n{said}\n{}", output.status, text(&output.stderr));
    said
}
