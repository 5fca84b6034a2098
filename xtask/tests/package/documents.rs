//! What the documents tell an administrator to do, on one clean machine: the blocks that `fixtures/documents/commands.toml`
//! names, in its order.

use std::fs;
use std::path::Path;

use lab::documents::{self, CALLED, OnMachine};
use lab::sipp::{Calls, Party};

use crate::machine::{Machine, text, until_it_says};
use crate::tarball::static_tarball;
use crate::{ADDRESSES, GATEWAY, PROXY, at, packages};

/// Where the blocks are run.
const FOLDER: &str = "/root/documents";
/// The PBX of staging, as `init` has it.
const STAGING: &str = "10.10.10.3:5080";

/// The folder as a release has it: packages of this version and the next, the static tarball, and the files of `deploy`.
fn provided(machine: &Machine) {
    let folder = machine.file(FOLDER);
    fs::create_dir(&folder).unwrap();
    let [this, next] = &packages().debs;
    for (file, name) in [(this, "switchyard_0.1.0-1_amd64.deb"), (next, "switchyard_0.1.1-1_amd64.deb")] {
        fs::copy(file, folder.join(name)).unwrap();
    }
    let tarball: &Path = static_tarball();
    fs::copy(tarball, folder.join(tarball.file_name().unwrap())).unwrap();
    // Who stands at a terminal says yes.
    machine.says("echo 'APT::Get::Assume-Yes \"true\";' >/etc/apt/apt.conf.d/90yes");
    machine.says(&format!("ln -s /usr/share/doc/switchyard/examples {FOLDER}/deploy"));
}

fn script_of(step: &OnMachine, page: &str) -> String {
    let mut block: String = step.commands(page).into_iter().map(|shown| shown.command + "\n").collect();
    for replace in &step.replace {
        assert!(block.contains(&replace.text), "{}: nothing to replace: {:?} in\n{block}", step.page, replace.text);
        block = block.replace(&replace.text, &replace.by);
    }
    format!("set -ex\ncd {FOLDER}\n{}\n{block}", step.before)
}

fn call_to_staging(machine: &Machine) {
    let place = machine.network();
    let callee = Party::callee(&place, "call", at(STAGING), 1);
    Party::caller(&place, "call", at(GATEWAY), at(PROXY), Calls::one(CALLED)).succeeded();
    callee.succeeded();
}

#[test]
#[ignore = "full set: it fetches two database servers from Debian's mirror, and needs the static program"]
fn every_block_for_an_administrator_does_what_it_is_for() {
    let machine = Machine::boot("documents", &ADDRESSES);
    provided(&machine);
    machine.online("apt-get --quiet update");
    let (pages, mut faults) = (documents::pages(), Vec::new());
    for step in documents::table().machine {
        let (page, text_of_page) = pages.iter().find(|(page, _)| *page == step.page).unwrap();
        if step.after_a_call {
            until_it_says(&machine, "switchyard status", "55 DIDs");
            call_to_staging(&machine);
            until_it_says(&machine, "switchyard calls", CALLED.trim_start_matches('+'));
        }
        let output = machine.run_online(&script_of(&step, text_of_page));
        if !output.status.success() {
            let (said, fault) = (text(&output.stdout), text(&output.stderr));
            faults.push(format!("{page}: {}: {}\n{said}\n{fault}", step.block, output.status));
        }
    }
    // A later one may fail by what an earlier one has not done.
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n\n"));
    until_it_says(&machine, "switchyard status", "55 DIDs");
}
