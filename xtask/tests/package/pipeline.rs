//! The pipeline's account on a machine with the package, as its page makes it: what it may do is enough to ship by, and
//! no more.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::process::Place;
use lab::sipp::Party;

use crate::machine::{Machine, text, until_it_says};
use crate::{CONFIGURATION, PBX, at, examples, installed, started};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/github/scripts");
const PAGE: &str = include_str!("../../../docs/how-to/pipeline.md");

/// The page's block of shell with this text, for a machine where `deploy` is what the package brings of it.
fn block(marker: &str) -> String {
    let mut blocks = PAGE.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let block = blocks.find(|block| block.contains(marker)).unwrap_or_else(|| panic!("no block has {marker}"));
    format!(
        "set -e\nmkdir -p /run/page && ln -sfn /usr/share/doc/switchyard/examples /run/page/deploy\ncd /run/page\n{block}"
    )
}

/// The runner outside: a folder with its key, the way there, and what build.sh leaves.
struct Runner {
    place: Place,
}

impl Runner {
    fn of(machine: &Machine) -> Runner {
        let place = machine.network();
        let (key, known) = (place.path("runner"), place.path("known"));
        let mut make = Command::new("ssh-keygen");
        make.args(["-q", "-t", "ed25519", "-N", "", "-C", "runner", "-f"]).arg(&key);
        assert!(make.status().unwrap().success());
        let public = std::fs::read_to_string(place.path("runner.pub")).unwrap();
        machine.says(&format!(
            "install -d -m 0700 -o deploy -g deploy /home/deploy/.ssh && echo '{}' >/home/deploy/.ssh/authorized_keys && \
             chown deploy: /home/deploy/.ssh/authorized_keys",
            public.trim()
        ));
        let host = machine.says("cat /etc/ssh/ssh_host_ed25519_key.pub");
        std::fs::write(&known, format!("10.10.10.1 {host}")).unwrap();
        let config = format!(
            "Host switchyard-prod\n  HostName 10.10.10.1\n  User deploy\n  IdentityFile {}\n  IdentitiesOnly yes\n  \
             UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n",
            key.display(),
            known.display()
        );
        std::fs::write(place.path("ssh_config"), config).unwrap();
        Runner { place }
    }

    /// What build.sh leaves of a version whose program is `text`.
    fn built(&self, revision: &str, program: &[u8]) -> PathBuf {
        let folder = self.place.path("built").join(revision);
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("switchyard");
        std::fs::write(&file, program).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let summed = Command::new("sh").args(["-c", "sha256sum switchyard >SHA256SUMS"]).current_dir(&folder).status();
        assert!(summed.unwrap().success());
        folder
    }

    /// Runs ship.sh; its exit code, and what it told.
    fn ship(&self, folder: &Path) -> (Option<i32>, String) {
        let mut command = self.place.command(&format!("{SCRIPTS}/ship.sh"));
        command.arg(folder).arg("switchyard-prod");
        command.env("SHIP_SSH", format!("ssh -F {}", self.place.path("ssh_config").display()));
        let run = command.output().unwrap();
        (run.status.code(), text(&run.stdout) + &text(&run.stderr))
    }
}

#[test]
#[ignore = "full set: a Debian machine needs root's rights, and Debian's mirror"]
fn the_pipeline_s_account_ships_with_the_rights_that_its_page_gives() {
    let machine = installed("pipeline");
    started(&machine, examples);
    machine.online("apt-get --quiet install --yes --no-install-recommends openssh-server rsync sudo");
    machine.says(&block("useradd"));
    machine.says(&block("releases/before"));
    // The configuration has a variable, as one with a password has: the account has to read it to check a version.
    machine.says(&format!(
        "echo DATABASE_NAME=directory >>/etc/switchyard/environment && \
         sed -i 's|/directory.db|/${{DATABASE_NAME}}.db|' {CONFIGURATION} && grep -q DATABASE_NAME {CONFIGURATION} && \
         cat /usr/share/doc/switchyard/examples/github/switchyard.toml >>{CONFIGURATION} && switchyard check && \
         systemctl restart switchyard"
    ));
    until_it_says(&machine, "switchyard status", "55 DIDs");
    // Port 22, by hexadecimal numbers: what listens has the state 0A.
    until_it_says(&machine, "cat /proc/net/tcp", ":0016 00000000:0000 0A");
    assert_eq!(
        machine.says("stat --format '%U:%G %a' /etc/switchyard/environment /etc/switchyard/switchyard.toml"),
        "root:switchyard 640\nroot:switchyard 640\n"
    );
    let runner = Runner::of(&machine);
    let program = std::fs::read(machine.file("/usr/bin/switchyard")).unwrap();

    // Two versions that serve are tried with a call each, and what serves again after one that does not.
    let callee = Party::callee(&machine.network(), "call", at(PBX), 3);
    let in_force = || machine.says("readlink /opt/switchyard/current").trim().to_owned();
    for (revision, shown) in [("first", "instead of before"), ("second", "instead of first")] {
        let (code, said) = runner.ship(&runner.built(revision, &program));
        assert!(code == Some(0) && said.contains(shown), "{revision}: {code:?} {said}");
        assert_eq!(in_force(), format!("releases/{revision}"));
        // It is the service's user that runs what the account has brought.
        let runs = "pid=$(systemctl show --property MainPID --value switchyard) && readlink /proc/$pid/exe && \
                    stat --format %U /proc/$pid";
        assert_eq!(machine.says(runs), format!("/opt/switchyard/releases/{revision}/switchyard\nswitchyard\n"));
    }
    let ends = runner.built("third", b"#!/bin/sh\n[ \"$1\" != run ] || exit 1\nexec /usr/bin/switchyard \"$@\"\n");
    let (code, said) = runner.ship(&ends);
    assert!(code == Some(3) && said.contains("second is in force again"), "{code:?} {said}");
    assert_eq!(in_force(), "releases/second");
    callee.succeeded();

    // Enough, and no more.
    for (line, is_allowed) in [
        ("switchyard status", true),
        ("cat /etc/switchyard/environment", true),
        ("sudo -n systemctl reset-failed switchyard.service", true),
        ("sudo -n systemctl stop switchyard.service", false),
        ("sudo -n systemctl restart ssh.service", false),
        ("sudo -n sh -c true", false),
        ("touch /etc/switchyard/switchyard.toml", false),
        ("cat /var/lib/switchyard/token.keys", false),
    ] {
        let run = machine.run(&format!("runuser -u deploy -- {line}"));
        assert_eq!(run.status.success(), is_allowed, "{line}: {run:?}");
    }
    assert_eq!(text(&machine.run("systemctl is-active switchyard").stdout).trim(), "active");
}
