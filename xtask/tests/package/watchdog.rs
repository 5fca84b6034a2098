//! The watchdog of the unit, by systemd itself.

use lab::hung::Hung;

use crate::machine::{Machine, until_it_says};
use crate::{examples, installed, one_call, pid, started};

fn restarts(machine: &Machine) -> String {
    machine.says("systemctl show --property NRestarts --value switchyard").trim().to_owned()
}

#[test]
#[ignore = "full set: a Debian machine needs root's rights, and Debian's mirror"]
fn systemd_ends_a_process_whose_worker_hangs_and_starts_it_again() {
    let machine = installed("watchdog");
    started(&machine, examples);
    one_call(&machine);
    let before = pid(&machine);
    assert_eq!(restarts(&machine), "0");

    // What systemd itself says of the unit is to be in the journal, too.
    machine.says("systemctl log-target journal");
    // Everything else in the process goes on; only the thread that handles calls does not.
    let hung = Hung::thread(machine.process(&before), "worker");
    until_it_says(&machine, "systemctl show --property NRestarts --value switchyard", "1");
    until_it_says(&machine, "switchyard status", "55 DIDs");
    drop(hung);
    let log = machine.says("journalctl --unit switchyard --output cat");
    for said in ["the worker does not answer: the supervisor is not told", "Failed with result 'watchdog'"] {
        assert!(log.contains(said), "{said}: {log}");
    }
    assert_ne!(pid(&machine), before);
    one_call(&machine);
    assert_eq!(restarts(&machine), "1");
}
