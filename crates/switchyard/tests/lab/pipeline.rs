//! The scripts of `deploy/github`: versions are shipped from a runner outside to the machine prod, by ssh and rsync as they
//! are, tried with a call there, and taken back.

#![expect(
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "the lint's leave for tests does not reach the functions they share"
)]

use crate::site::{PROD_DID, PROXY, STAGING_DID, sip};
use lab::phone::Phone;
use lab::phones::{self, Callees, Plan};
use lab::process::{PATIENCE, Process, until};
use lab::program::CONFIGURATION;
use lab::supervisor::{Supervisor, Unit};
use lab::tap::Tap;
use lab::{Lab, Node};
use std::collections::BTreeMap;
use std::net::{SocketAddrV4, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const UNIT: &str = include_str!("../../../../deploy/systemd/switchyard.service");
const DROP_IN: &str = include_str!("../../../../deploy/github/release.conf");
const SMOKE_TRUNK: &str = include_str!("../../../../deploy/github/switchyard.toml");
const SMOKE_CALL: &str = include_str!("../../../../deploy/github/release.env");
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/github/scripts");
const SSH_PORT: u16 = 2222;

/// A DID of oss in the made-up directory.
const OSS_DID: &str = "+918065978025";

/// A version that does what the built program does.
const RIGHT: &str = "exec \"$PROGRAM\" \"$@\"";
/// One that ends as soon as it is run.
const ENDS: &str = "[ \"$1\" != run ] || exit 1\nexec \"$PROGRAM\" \"$@\"";
/// One that serves, and sends the calls of prod where nobody is.
const LOSES_CALLS: &str =
    "[ \"$1\" != run ] || exec \"$PROGRAM\" run --config \"$CONFIG.astray\"\nexec \"$PROGRAM\" \"$@\"";
/// One that does not take the machine's configuration.
const REFUSES: &str = "[ \"$1\" != check ] || exit 1\nexec \"$PROGRAM\" \"$@\"";

/// The machine that is shipped to: sshd, a supervisor with the unit as it is deployed, a PBX that answers.
struct Machine {
    supervisor: Supervisor,
    _sshd: Process,
    _pbx: Callees,
    lab: Lab,
}

impl Machine {
    fn up(seed: u64, drain_limit: &str) -> Machine {
        let lab = Lab::up(seed).unwrap();
        let place = lab.place(Node::Prod).unwrap();
        let (root, config) = (lab.path("opt"), lab.path("switchyard.toml"));
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("release.env"), SMOKE_CALL).unwrap();
        assert!(SMOKE_CALL.contains(&format!("SMOKE_NUMBER={}", PROD_DID.trim_start_matches('+'))));
        let folder = lab.folder().to_str().unwrap();
        let written = format!("{CONFIGURATION}\n[limits]\ndrain_limit = \"{drain_limit}\"\n{SMOKE_TRUNK}");
        let written = written.replace("${FOLDER}", folder);
        std::fs::write(&config, &written).unwrap();
        let astray = written.replace("udp:10.10.10.1:5070", "udp:10.10.10.1:5079");
        assert_ne!(astray, written);
        std::fs::write(lab.path("switchyard.toml.astray"), astray).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let scripts = [sync::schema::SQLITE_TABLES, sync::schema::ROWS];
        runtime.block_on(sync::schema::run(&lab.path("directory.db"), &scripts)).unwrap();

        let here = |text: &str| {
            let text = text.replace("/opt/switchyard", root.to_str().unwrap());
            text.replace("/etc/switchyard/switchyard.toml", config.to_str().unwrap())
        };
        let supervisor = Supervisor::of(&place, Unit::read(&[&here(UNIT), &here(DROP_IN)]));
        let sshd = sshd(&lab, supervisor.programs(), &config);
        let pbx = lab.inside(Some(Node::Prod), || UdpSocket::bind(sip(Node::Prod))).unwrap().unwrap();
        Machine { supervisor, _sshd: sshd, _pbx: Callees::start(pbx), lab }
    }

    /// What build.sh leaves of a version that does `what`.
    fn built(&self, revision: &str, what: &str) -> PathBuf {
        let folder = self.lab.path("built").join(revision);
        std::fs::create_dir_all(&folder).unwrap();
        let (program, config) = (env!("CARGO_BIN_EXE_switchyard"), self.lab.path("switchyard.toml"));
        let text = format!("#!/bin/sh\nPROGRAM={program}\nCONFIG={}\n{what}\n", config.display());
        let file = folder.join("switchyard");
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let summed = Command::new("sh").args(["-c", "sha256sum switchyard >SHA256SUMS"]).current_dir(&folder).status();
        assert!(summed.unwrap().success());
        folder
    }

    /// Runs ship.sh outside, as the runner does; its exit code, and what it told.
    fn ship(&self, folder: &Path) -> (Option<i32>, String) {
        self.ship_with(folder, |_| {})
    }

    fn ship_with(&self, folder: &Path, adjust: impl FnOnce(&mut Command)) -> (Option<i32>, String) {
        let mut command = Command::new(format!("{SCRIPTS}/ship.sh"));
        command.arg(folder).arg("machine").env("SHIP_ROOT", self.lab.path("opt"));
        adjust(&mut command);
        command.env("SHIP_SSH", format!("ssh -F {}", self.lab.path("ssh/config").display()));
        let run = self.lab.inside(None, move || command.output()).unwrap().unwrap();
        (run.status.code(), [run.stdout, run.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat())
    }

    fn in_force(&self) -> String {
        let link = std::fs::read_link(self.lab.path("opt/current")).unwrap();
        link.file_name().unwrap().to_string_lossy().into_owned()
    }
}

/// sshd on the machine's outer address, with keys of its own, and the way there for ssh in a file.
fn sshd(lab: &Lab, programs: &Path, config: &Path) -> Process {
    let folder = lab.path("ssh");
    std::fs::create_dir(&folder).unwrap();
    std::fs::create_dir_all(lab.path("prod/sshd")).unwrap();
    for key in ["host", "runner"] {
        let mut make = Command::new("ssh-keygen");
        make.args(["-q", "-t", "ed25519", "-N", "", "-C", key, "-f"]).arg(folder.join(key));
        assert!(make.status().unwrap().success());
    }
    std::fs::copy(folder.join("runner.pub"), folder.join("authorized")).unwrap();
    let (at, address) = (folder.display(), Node::Prod.outer_address());
    let server = format!(
        "ListenAddress {address}:{SSH_PORT}\nHostKey {at}/host\nAuthorizedKeysFile {at}/authorized\nStrictModes no\n\
         UsePAM no\nPasswordAuthentication no\nPidFile none\nPermitRootLogin prohibit-password\n\
         SetEnv PATH={}:/usr/sbin:/usr/bin:/sbin:/bin SWITCHYARD_CONFIG={}\n",
        programs.display(),
        config.display()
    );
    std::fs::write(folder.join("sshd_config"), server).unwrap();
    let client = format!(
        "Host machine switchyard-staging switchyard-prod\n  HostName {address}\n  Port {SSH_PORT}\n  User root\n  IdentityFile {at}/runner\n  IdentitiesOnly yes\n  \
         UserKnownHostsFile {at}/known\n  GlobalKnownHostsFile /dev/null\n  StrictHostKeyChecking yes\n"
    );
    std::fs::write(folder.join("config"), client).unwrap();
    let host = std::fs::read_to_string(folder.join("host.pub")).unwrap();
    std::fs::write(folder.join("known"), format!("[{address}]:{SSH_PORT} {host}")).unwrap();
    let mut command = lab.command(Node::Prod, "/usr/sbin/sshd").unwrap();
    command.args(["-D", "-e", "-f"]).arg(folder.join("sshd_config"));
    let mut process = Process::start(&mut command, &folder.join("log"), "openssh-server");
    process.bound_over("tcp", SocketAddrV4::new(address, SSH_PORT));
    process
}

/// A call rings at oss for three seconds, from another port of the gateway's.
fn ringing(lab: &Lab) -> (Callees, std::thread::JoinHandle<phones::Called>) {
    let oss = lab.inside(Some(Node::Oss), || UdpSocket::bind(sip(Node::Oss))).unwrap().unwrap();
    let callees = Callees::ringing(oss, Duration::from_secs(3));
    let seen = Tap::start(lab, Node::Nuc, "wg0");
    let from = SocketAddrV4::new(Node::Nuc.address(), 5062);
    let phone = lab.inside(Some(Node::Nuc), move || UdpSocket::bind(from)).unwrap().unwrap();
    let plan = Plan { number: OSS_DID, count: 1, per_second: 1, hold: Duration::from_secs(1) };
    let calling = std::thread::spawn(move || phones::call(&phone, PROXY, plan));
    let rings = || seen.so_far().packets.iter().any(|packet| packet.payload.starts_with(b"SIP/2.0 180 "));
    until(|| "the call to ring".to_owned(), PATIENCE, rings);
    (callees, calling)
}

#[test]
fn versions_are_shipped_tried_with_a_call_and_taken_back_while_a_call_is_up() {
    let machine = Machine::up(60, "1s");
    let (code, said) = machine.ship(&machine.built("first", RIGHT));
    assert_eq!((code, machine.supervisor.starts()), (Some(0), 1), "{said}");
    assert!(said.contains("good: 918065978000 from 127.0.0.2:5099 got 200"), "{said}");

    // A call with sound, up from here to the end.
    let place = |node: Node| machine.lab.place(node).unwrap();
    let callee = Phone::start(&place(Node::Staging), sip(Node::Staging), STAGING_DID, 880, None);
    let number = format!("sip:{STAGING_DID}@{PROXY}");
    let mut caller = Phone::start(&place(Node::Nuc), sip(Node::Nuc), "+447700900123", 440, Some(&number));
    assert!((435..=445).contains(&callee.heard_hz()), "{}", callee.log());

    // A good one, where there are many of before.
    let releases = machine.lab.path("opt/releases");
    (1..=6).for_each(|old| std::fs::create_dir(releases.join(format!("old-{old}"))).unwrap());
    let (code, said) = machine.ship(&machine.built("second", RIGHT));
    assert_eq!((code, machine.in_force().as_str()), (Some(0), "second"), "{said}");
    assert!(["first", "second"].into_iter().all(|kept| releases.join(kept).exists()), "what is in force, and before");
    assert!(std::fs::read_dir(&releases).unwrap().count() <= 6, "five stay, and the one before");

    // Those that do not serve are taken back, and `second` serves again.
    for (revision, what, expected) in
        [("third", ENDS, "back to second"), ("fourth", LOSES_CALLS, "BAD: 918065978000 from 127.0.0.2:5099 got 500")]
    {
        let (code, said) = machine.ship(&machine.built(revision, what));
        assert_eq!((code, machine.in_force().as_str()), (Some(3), "second"), "{revision}: {said}");
        assert!(said.contains(expected) && said.contains("second is in force again"), "{revision}: {said}");
    }

    // Those that can be told before change nothing: the process is the same.
    let (before, starts) = (machine.supervisor.id(), machine.supervisor.starts());
    let corrupt = machine.built("sixth", RIGHT);
    std::fs::write(corrupt.join("switchyard"), "#!/bin/sh\nexit 0\n").unwrap();
    for (folder, expected) in [(machine.built("fifth", REFUSES), "fifth refuses "), (corrupt, "is not what was built")]
    {
        let (code, said) = machine.ship(&folder);
        assert!(code == Some(2) && said.contains(expected) && said.contains("nothing was changed"), "{code:?} {said}");
    }
    assert_eq!((machine.supervisor.id(), machine.supervisor.starts()), (before, starts));

    // The call outlived every process so far, and its end finds its way.
    assert!((435..=445).contains(&callee.heard_hz()) && !callee.log().contains("session closed"), "{}", callee.log());
    caller.hang_up();
    until(|| format!("the end of the call\n{}", callee.log()), PATIENCE, || callee.log().contains("session closed"));
}

#[test]
#[ignore = "full set: what runs drains until its last transaction is forgotten, 32 s after its last call"]
fn a_call_that_rings_while_a_version_is_shipped_is_answered_by_the_one_that_drains() {
    let machine = Machine::up(62, "60s");
    let (code, said) = machine.ship(&machine.built("first", RIGHT));
    assert_eq!(code, Some(0), "{said}");
    let (callees, calling) = ringing(&machine.lab);
    let (code, said) = machine.ship(&machine.built("second", RIGHT));
    assert_eq!((code, machine.in_force().as_str()), (Some(0), "second"), "{said}");
    let drained = machine.supervisor.log(1);
    assert!(drained.contains("draining: new calls get 503") && drained.contains("nothing was cut off"), "{drained}");
    let called = calling.join().unwrap();
    assert_eq!((called.completed, callees.end().ended.len()), (1, 1), "{called:#?}");
}

#[test]
fn a_machine_that_nobody_knows_is_not_shipped_to() {
    let machine = Machine::up(61, "1s");
    std::fs::write(machine.lab.path("ssh/known"), "").unwrap();
    let (code, said) = machine.ship(&machine.built("first", RIGHT));
    assert!(code == Some(1) && said.contains("Host key verification failed"), "{code:?} {said}");
    assert_eq!((machine.supervisor.starts(), machine.lab.path("opt/releases").exists()), (0, false));
}

/// As the platform hands one to a run that was approved: the runner has none of its own.
#[test]
fn a_key_that_is_handed_over_ships_and_leaves_nothing_on_the_runner() {
    let machine = Machine::up(64, "1s");
    let (config, key) = (machine.lab.path("ssh/config"), machine.lab.path("ssh/runner"));
    let written = std::fs::read_to_string(&config).unwrap();
    let without = written.replace(&format!("  IdentityFile {}\n", key.display()), "");
    assert_ne!(without, written);
    std::fs::write(&config, without).unwrap();
    let kept = std::fs::read_to_string(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    let folder = machine.built("first", RIGHT);
    let passing = machine.lab.path("passing");
    std::fs::create_dir(&passing).unwrap();
    let (code, said) = machine.ship(&folder);
    assert!(code == Some(1) && said.contains("Permission denied"), "{code:?} {said}");
    let (code, said) = machine.ship_with(&folder, |command| {
        command.env("SHIP_KEY", kept.trim_end()).env("TMPDIR", &passing);
    });
    assert_eq!((code, machine.in_force().as_str()), (Some(0), "first"), "{said}");
    assert_eq!(std::fs::read_dir(&passing).unwrap().count(), 0, "the key stays on the runner");
}

const STAGING_WORKFLOW: &str = include_str!("../../../../deploy/github/workflows/staging.yml");
const PROD_WORKFLOW: &str = include_str!("../../../../deploy/github/workflows/prod.yml");

/// A repository with a remote and the scripts of the pipeline, as a runner has it.
struct Checkout {
    folder: PathBuf,
}

impl Checkout {
    fn of(machine: &Machine) -> Checkout {
        let folder = machine.lab.path("checkout");
        let scripts = folder.join("deploy/github/scripts");
        std::fs::create_dir_all(&scripts).unwrap();
        for entry in std::fs::read_dir(SCRIPTS).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), scripts.join(entry.file_name())).unwrap();
        }
        let checkout = Checkout { folder };
        let remote = machine.lab.path("remote.git");
        checkout.git(&["init", "--quiet", "--initial-branch=main"]);
        checkout.git(&["init", "--quiet", "--bare", "--initial-branch=main", remote.to_str().unwrap()]);
        checkout.git(&["remote", "add", "origin", remote.to_str().unwrap()]);
        checkout.git(&["add", "."]);
        checkout
    }

    fn git(&self, arguments: &[&str]) -> String {
        let names = ["-c", "user.name=Test", "-c", "user.email=test@example.net", "-c", "commit.gpgsign=false"];
        let run = Command::new("git").args(names).args(arguments).current_dir(&self.folder).output().unwrap();
        assert!(run.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8_lossy(&run.stdout).trim().to_owned()
    }

    /// A commit of a version that does `what`, on both branches; its name as build.sh has it.
    fn pushed(&self, what: &str) -> String {
        self.git(&["commit", "--quiet", "--allow-empty", "-m", what]);
        self.git(&["push", "--quiet", "origin", "main", "main:staging"]);
        self.git(&["rev-parse", "--short=12", "HEAD"])
    }

    /// Runs the steps of a workflow that run something, as the platform does, with `built` for what build.sh leaves. Tells the
    /// script of each step that was run, and whether it went well.
    fn run(&self, machine: &Machine, workflow: &str, built: &Path) -> Vec<(String, bool)> {
        let (_, jobs) = workflow.split_once("\njobs:\n").unwrap();
        // How each job went; one that is not due has not gone well.
        let mut jobs_went: BTreeMap<String, bool> = BTreeMap::new();
        let (mut job, mut steps) = (String::new(), Vec::new());
        let (mut is_in_steps, mut condition) = (false, None);
        for line in jobs.lines() {
            let depth = line.len() - line.trim_start().len();
            let line = line.trim();
            if depth == 2 && !line.starts_with('#') {
                job = line.trim_end_matches(':').to_owned();
                is_in_steps = false;
                jobs_went.insert(job.clone(), true);
            }
            if line.starts_with("- ") {
                condition = None;
            }
            if let Some(needed) = line.strip_prefix("needs: ") {
                let is_due = needed.trim_matches(['[', ']']).split(", ").all(|needed| jobs_went[needed]);
                jobs_went.insert(job.clone(), is_due);
            }
            if let Some(told) = line.strip_prefix("if: ") {
                if is_in_steps {
                    condition = Some(told);
                } else {
                    let told = told.strip_prefix("always() && ").expect("a job has a condition that does not begin so");
                    jobs_went.insert(job.clone(), holds(told, &jobs_went));
                }
            }
            is_in_steps |= line == "steps:";
            let Some(words) = line.strip_prefix("run: ") else { continue };
            // A job that is not due, or of which a step has failed, runs nothing more.
            if !jobs_went[&job] || condition.is_some_and(|told| !holds(told, &jobs_went)) {
                continue;
            }
            let script = words.split([' ', '/']).find(|word| word.ends_with(".sh")).unwrap().to_owned();
            let went_well = script == "build.sh" || self.step(machine, words, built);
            jobs_went.insert(job.clone(), went_well);
            steps.push((script, went_well));
        }
        steps
    }

    fn step(&self, machine: &Machine, words: &str, built: &Path) -> bool {
        let mut command = Command::new("bash");
        command.args(["-c", words]).current_dir(&self.folder).env("FOLDER", built);
        command.env("SHIP_ROOT", machine.lab.path("opt"));
        command.env("SHIP_SSH", format!("ssh -F {}", machine.lab.path("ssh/config").display()));
        machine.lab.inside(None, move || command.output()).unwrap().unwrap().status.success()
    }
}

/// Whether a condition on how another job went holds.
fn holds(condition: &str, jobs_went: &BTreeMap<String, bool>) -> bool {
    let (job, is) = condition.strip_prefix("needs.").and_then(|rest| rest.split_once(".result ")).unwrap();
    match is {
        "== 'success'" => jobs_went[job],
        "!= 'success'" => !jobs_went[job],
        _ => panic!("a condition is {condition}, which this test does not know"),
    }
}

#[test]
fn what_was_taken_back_on_staging_is_not_offered_to_prod() {
    let machine = Machine::up(63, "1s");
    let checkout = Checkout::of(&machine);
    let ran = |steps: &[(&str, bool)]| steps.iter().map(|(step, well)| ((*step).to_owned(), *well)).collect::<Vec<_>>();
    let shipped =
        ran(&[("came-by-staging.sh", true), ("came-by-staging.sh", true), ("build.sh", true), ("ship.sh", true)]);

    let good = checkout.pushed("a good one");
    let built = machine.built(&good, RIGHT);
    let served = [("staging-served.sh", true), ("build.sh", true), ("ship.sh", true), ("staging-served.sh", true)];
    assert_eq!(checkout.run(&machine, STAGING_WORKFLOW, &built), ran(&served));
    assert_eq!(checkout.run(&machine, PROD_WORKFLOW, &built), shipped);

    // It reaches the machine, loses a call there and is taken back; it stays on the branch.
    let bad = checkout.pushed("one that loses calls");
    let built_bad = machine.built(&bad, LOSES_CALLS);
    let taken_back = [("staging-served.sh", true), ("build.sh", true), ("ship.sh", false), ("staging-served.sh", true)];
    assert_eq!(checkout.run(&machine, STAGING_WORKFLOW, &built_bad), ran(&taken_back));
    assert_eq!(machine.in_force(), good);
    let starts = machine.supervisor.starts();
    assert_eq!(checkout.run(&machine, PROD_WORKFLOW, &built_bad), ran(&[("came-by-staging.sh", false)]));
    assert_eq!((machine.in_force(), machine.supervisor.starts()), (good, starts));

    // One that went well, and went wrong when it was shipped again.
    let later = checkout.pushed("one that goes wrong later");
    assert_eq!(checkout.run(&machine, STAGING_WORKFLOW, &machine.built(&later, RIGHT)), ran(&served));
    assert_eq!(checkout.run(&machine, STAGING_WORKFLOW, &machine.built(&later, LOSES_CALLS)), ran(&taken_back));
    assert_eq!(checkout.run(&machine, PROD_WORKFLOW, &built), ran(&[("came-by-staging.sh", false)]));
}
