//! The Debian package, as a new user meets it: on a clean machine, from apt to a call, over an upgrade, to its purge.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the lint's leave for tests does not reach the functions they share"
)]

mod asterisk;
mod documents;
mod machine;
mod pipeline;
mod tarball;
mod tunnel;
mod watchdog;

use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use lab::process::{PATIENCE, Place, until};
use lab::sipp::{Calls, Party};
use machine::{Machine, text, until_it_says};

/// What `cargo xtask package` has made.
struct Packages {
    /// Two versions of the Debian package, of one program.
    debs: [PathBuf; 2],
    tarball: PathBuf,
    /// That of the static program, where it was built.
    static_tarball: Option<PathBuf>,
}

/// They are of the program that SWITCHYARD_PACKAGED names, the one with optimisation in `cargo xtask test`, else of the build of
/// the tests. SWITCHYARD_STATIC names the static one.
fn packages() -> &'static Packages {
    static PACKAGES: OnceLock<Packages> = OnceLock::new();
    PACKAGES.get_or_init(|| {
        let program = program();
        let said = text(&Command::new(&program).arg("--version").output().unwrap().stdout);
        let version = said.split_whitespace().nth(1).unwrap().to_owned();
        let mut tarball = PathBuf::new();
        let debs = [1, 2].map(|revision| {
            let made = made(&program, &["--deb-version", &format!("{version}-{revision}")]);
            let [deb, packed] = made.try_into().expect("a package and a tarball");
            tarball = packed;
            deb
        });
        let static_tarball =
            named_by("SWITCHYARD_STATIC").and_then(|program| made(&program, &["--tarball"]).into_iter().next());
        Packages { debs, tarball, static_tarball }
    })
}

fn program() -> PathBuf {
    let program = named_by("SWITCHYARD_PACKAGED")
        .unwrap_or_else(|| Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name("switchyard"));
    assert!(program.exists(), "{} is missing: cargo build --workspace", program.display());
    program
}

fn named_by(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}

/// What `cargo xtask package` makes of a program.
fn made(program: &Path, arguments: &[&str]) -> Vec<PathBuf> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["package", "--quick", "--folder", "target/package/test", "--binary"]).arg(program).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout).lines().map(PathBuf::from).collect()
}

const ADDRESSES: [&str; 3] = ["10.10.10.1", "10.10.10.2", "10.10.10.3"];
const GATEWAY: &str = "10.10.10.2:5060";
const PROXY: &str = "10.10.10.1:5060";
const PBX: &str = "10.10.10.1:5070";
const CONFIGURATION: &str = "/etc/switchyard/switchyard.toml";

fn at(address: &str) -> SocketAddrV4 {
    address.parse().unwrap()
}

/// Has apt install a package from a file, with what it depends on.
fn install(machine: &Machine, package: &Path) -> String {
    std::fs::copy(package, machine.file("/tmp/switchyard.deb")).unwrap();
    machine.online("apt-get --quiet install --yes --no-install-recommends /tmp/switchyard.deb 2>&1")
}

/// A machine with the package installed, and SQLite for the numbers.
fn installed(name: &str) -> Machine {
    let machine = Machine::boot(name, &ADDRESSES);
    machine.online("apt-get --quiet update");
    let said = install(&machine, &packages().debs[0]);
    assert!(said.contains("switchyard is installed, and not started. Next: switchyard init"), "{said}");
    machine
}

/// The block of shell with this text in docs/how-to/install.md.
fn documented(marker: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/how-to/install.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.find(|block| block.contains(marker)).unwrap_or_else(|| panic!("no block has {marker}")).to_owned()
}

/// What README.Debian says: a configuration, a look, the start; `numbers` fills the database.
fn started(machine: &Machine, numbers: impl FnOnce(&Machine)) {
    let said = machine.says("switchyard init");
    assert!(said.contains("3. systemctl enable --now switchyard"), "{said}");
    // The peers of these tests answer calls, and nothing else.
    machine.says(&format!(
        "printf '\\n[probe]\\ninterval = \"0s\"\\n[limits]\\ndrain_limit = \"2s\"\\n' >>{CONFIGURATION}"
    ));
    numbers(machine);
    // As root, before the first start: nothing that it looks at may be in the service's way after.
    machine.says("switchyard doctor");
    machine.says("systemctl enable --now switchyard");
    until_it_says(machine, "switchyard status", "55 DIDs");
}

/// The numbers of the package's examples, as the page of installation says.
fn examples(machine: &Machine) {
    machine.online(&format!("set -e\n{}", documented("schema-sqlite.sql")));
}

fn pid(machine: &Machine) -> String {
    machine.says("systemctl show --property MainPID --value switchyard").trim().to_owned()
}

fn one_call(machine: &Machine) {
    called(&machine.network());
}

/// A call from the gateway to the PBX of prod, between addresses of one loopback.
fn called(place: &Place) {
    let callee = Party::callee(place, "call", at(PBX), 1);
    Party::caller(place, "call", at(GATEWAY), at(PROXY), Calls::one("+918065978000")).succeeded();
    callee.succeeded();
}

#[test]
fn a_new_user_comes_from_apt_to_a_call() {
    let machine = installed("new-user");
    // Nothing runs, and nothing will at the next boot.
    assert_eq!(text(&machine.run("systemctl is-active switchyard").stdout).trim(), "inactive");
    assert_eq!(text(&machine.run("systemctl is-enabled switchyard").stdout).trim(), "disabled");
    let early = machine.run("systemctl start switchyard");
    assert!(!early.status.success() && text(&early.stderr).contains("Assertion failed"), "{early:?}");
    let folders = "stat --format '%n %U:%G %a' /etc/switchyard /etc/switchyard/environment /var/lib/switchyard /var/log/switchyard";
    assert_eq!(
        machine.says(folders),
        "/etc/switchyard root:switchyard 2750\n/etc/switchyard/environment root:switchyard 640\n\
         /var/lib/switchyard switchyard:switchyard 750\n/var/log/switchyard switchyard:switchyard 750\n"
    );
    for file in [
        "/usr/share/man/man1/switchyard-did-set.1.gz",
        "/usr/share/bash-completion/completions/switchyard",
        "/usr/share/zsh/vendor-completions/_switchyard",
        "/usr/share/fish/vendor_completions.d/switchyard.fish",
        "/usr/share/doc/switchyard/examples/asterisk/pbx/pjsip_switchyard.conf",
        "/usr/share/doc/switchyard/docs/reference/config.md",
        "/usr/share/doc/switchyard/copyright",
        "/usr/share/doc/switchyard/THIRD-PARTY-NOTICES",
        "/usr/share/doc/switchyard/changelog.gz",
        "/usr/share/doc/switchyard/changelog.Debian.gz",
    ] {
        assert!(machine.file(file).exists(), "{file} is missing");
    }

    // A password in its file is known to the service and its group, and to nobody else.
    machine.says("echo DATABASE_PASSWORD=s3cret >>/etc/switchyard/environment");
    let url = "mysql://switchyard:${DATABASE_PASSWORD}@10.10.10.1/pbx_api_db";
    machine.says(&format!("switchyard init --config /etc/switchyard/other.toml --database '{url}'"));
    let check =
        |user: &str| machine.run(&format!("runuser -u {user} -- switchyard check --config /etc/switchyard/other.toml"));
    let (known, refused) = (check("switchyard"), check("nobody"));
    assert!(known.status.success() && !text(&known.stdout).contains("s3cret"), "{known:?}");
    assert!(!refused.status.success(), "{refused:?}");
    machine.says("rm /etc/switchyard/other.toml");

    started(&machine, examples);
    one_call(&machine);
    // The log is the journal's, as the unit sends it there, and no directive was one that systemd does not know.
    let log = machine.says("journalctl --unit switchyard --output cat");
    assert!(log.contains("switchyard serves") && !log.contains("Unknown"), "{log}");
    // Who is in the group may ask; who is not may not.
    machine.says("adduser --quiet --disabled-password --gecos '' asha && adduser --quiet asha switchyard");
    machine.says("adduser --quiet --disabled-password --gecos '' ravi");
    assert!(machine.says("runuser -u asha -- switchyard status").contains("55 DIDs"));
    assert!(!machine.run("runuser -u ravi -- switchyard status").status.success());
    // What the service's own user may do is less than root, and enough for a look.
    machine.says("runuser -u switchyard -- switchyard doctor");
    assert_eq!(machine.says("systemctl show --property NRestarts --value switchyard").trim(), "0");
}

#[test]
fn an_upgrade_keeps_calls_and_state_and_a_purge_leaves_nothing() {
    let machine = installed("upgrade");
    started(&machine, examples);
    machine.says("echo 'DATABASE_PASSWORD=kept' >>/etc/switchyard/environment");
    let keys = machine.says("cat /var/lib/switchyard/token.keys");
    let configuration = machine.says(&format!("cat {CONFIGURATION}"));
    let before = pid(&machine);

    // A call is up, and ends after its time, whatever has happened in between.
    let place = machine.network();
    let callee = Party::callee(&place, "held", at(PBX), 1);
    let caller = Party::caller(&place, "held", at(GATEWAY), at(PROXY), Calls::one("+918065978000"));
    until(|| "the call to be up".to_owned(), PATIENCE, || callee.messages().contains("ACK sip:"));
    let said = install(&machine, &packages().debs[1]);
    caller.succeeded();
    callee.succeeded();
    let after = pid(&machine);
    assert!(before != after && after != "0", "the process was {before} and is {after}: {said}");
    assert_eq!(machine.says("dpkg-query --show --showformat '${Version}' switchyard").rsplit('-').next(), Some("2"));
    assert_eq!(machine.says("cat /var/lib/switchyard/token.keys"), keys);
    assert_eq!(machine.says(&format!("cat {CONFIGURATION}")), configuration);
    assert!(machine.says("cat /etc/switchyard/environment").contains("DATABASE_PASSWORD=kept"));
    assert_eq!(machine.says("systemctl is-enabled switchyard").trim(), "enabled");
    until_it_says(&machine, "switchyard status", "55 DIDs");
    one_call(&machine);

    // A version that refuses the configuration does not take the place of one that serves.
    machine.says(&format!("sed -i '1i bogus = 1' {CONFIGURATION}"));
    let said = machine.online("dpkg --install /tmp/switchyard.deb 2>&1");
    assert!(said.contains("bogus") && said.contains("The process of the version before goes on serving"), "{said}");
    assert_eq!(pid(&machine), after);
    one_call(&machine);
    machine.says(&format!("sed -i 1d {CONFIGURATION} && systemctl restart switchyard"));

    // Stopped by hand, it stays so over an upgrade.
    machine.says("systemctl stop switchyard");
    machine.online("dpkg --install /tmp/switchyard.deb");
    assert_eq!(text(&machine.run("systemctl is-active switchyard").stdout).trim(), "inactive");
    machine.says("systemctl start switchyard");

    machine.online("apt-get --quiet remove --yes switchyard");
    assert_eq!(text(&machine.run("systemctl is-active switchyard").stdout).trim(), "inactive");
    assert!(!machine.file("/usr/bin/switchyard").exists());
    assert_eq!(machine.says("cat /var/lib/switchyard/token.keys"), keys);
    assert_eq!(machine.says(&format!("cat {CONFIGURATION}")), configuration);
    // What was removed and comes back goes on as it was.
    install(&machine, &packages().debs[1]);
    machine.says("systemctl start switchyard");
    until_it_says(&machine, "switchyard status", "55 DIDs");

    machine.online("apt-get --quiet purge --yes switchyard");
    let left = machine
        .says("find / -xdev -name '*switchyard*' -not -path '/proc/*' -not -path '/tmp/*' -not -path '/var/log/*'");
    assert_eq!(left, "");
    assert!(!machine.run("getent passwd switchyard").status.success());
    assert!(!machine.run("getent group switchyard").status.success());
}

/// Debian's own rules. What stands in the list has its reason beside it.
#[test]
fn the_package_keeps_debian_s_policy() {
    let mut command = Command::new("lintian");
    command.args(["--tag-display-limit", "0", "--fail-on", "error,warning"]).arg(&packages().debs[0]);
    let output = command.output().expect("lintian is missing; `cargo xtask test` installs it");
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}
