//! Every command that the documents show is run, on the node `prod` of a lab with the reference topology, against the real
//! program, a real demonstration and their files. What needs a machine of its own is run on one by the tests of the
//! package, as `fixtures/documents/commands.toml` says; what nobody runs is named there with why. A command that is in
//! neither list fails the test.

use crate::site::{STAGING_DID, Site, sip};
use lab::Node;
use lab::documents::{CALLED, Replace, Shown, Table, commands_of, pages, parts, root, table};
use lab::process::{PATIENCE, Place, Process, text_of, until};
use lab::program::CONFIGURATION;
use lab::sipp::Calls;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// The code spans of a page, outside fenced blocks, that begin with our program's name: line and words.
fn named_in(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut fenced) = (Vec::new(), false);
    let mut prose = String::new();
    for line in text.lines() {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        // A span may go over the end of a line.
        prose.push_str(if fenced || is_fence { "" } else { line });
        prose.push('\n');
    }
    let mut line = 1;
    for (at, span) in prose.split('`').enumerate() {
        let plain = span.split_whitespace().collect::<Vec<_>>().join(" ");
        if at % 2 == 1 && (plain.starts_with("switchyard ") || plain.starts_with("sudo switchyard ")) {
            found.push((line, plain.trim_start_matches("sudo ").to_owned()));
        }
        line += span.matches('\n').count();
    }
    found
}

/// The words of a command line that is written for people: what may be left out is, of alternatives the first is taken.
fn words_of(shown: &str) -> Vec<String> {
    let (mut kept, mut depth) = (String::new(), 0);
    for c in shown.split(" > ").next().unwrap().replace("\\|", "|").chars() {
        depth += i32::from(c == '[');
        if depth == 0 {
            kept.push(c);
        }
        depth -= i32::from(c == ']');
    }
    let quoted = |text: &str| text.trim_matches(['\'', '"']).to_owned();
    let word = |word: &str| match word {
        "ENVIRONMENT" => "staging".to_owned(),
        "ADMIN" => "drain".to_owned(),
        "ID" => "1".to_owned(),
        "NAME=ENVIRONMENT" => "x=staging".to_owned(),
        "IP" | "PBX" => "10.10.10.3".to_owned(),
        "IP:PORT" => "10.10.10.3:5080".to_owned(),
        "STATUS" => "200".to_owned(),
        "TIME" => "10m".to_owned(),
        _ => quoted(word.split('|').next().unwrap()),
    };
    kept.replace("...", "").split_whitespace().map(word).collect()
}

#[test]
fn every_command_that_prose_names_is_one_of_ours() {
    let mut count = 0;
    for (page, text) in pages() {
        for (line, span) in named_in(&text) {
            let words = words_of(&span);
            // `switchyard COMMAND`, and our counters' and events' names.
            if words.get(1).is_none_or(|word| word == "COMMAND") {
                continue;
            }
            count += 1;
            if let Err(why) = switchyard::cli::is_ours(&words) {
                panic!("{page}:{line}: {span}: {why}");
            }
        }
    }
    assert!(count > 60, "{count}");
}

#[test]
fn a_command_that_is_not_ours_is_told_from_the_beginning_of_one() {
    let is_ours = |line: &str| switchyard::cli::is_ours(&words_of(line));
    assert_eq!(is_ours("switchyard peer set NAME enabled|drain|disabled --reason .."), Ok(true));
    assert_eq!(is_ours("switchyard explain [--running] --from IP[:PORT] NUMBER_OR_URI"), Ok(true));
    assert_eq!(is_ours("switchyard peer set"), Ok(false));
    assert!(is_ours("switchyard pear list").is_err());
    assert!(is_ours("switchyard peer list --colour").is_err());
}

#[test]
fn commands_are_read_from_the_code_spans_of_prose() {
    let page = "Do:\n```sh\n`switchyard x`\n```\nand `switchyard\nstatus`.";
    assert_eq!(named_in(page), [(5, "switchyard status".to_owned())]);
}

/// The programs of a part, without the variables before them.
fn programs(part: &str) -> Vec<String> {
    let of_one = |one: &str| {
        let mut words = one.split_whitespace().skip_while(|word| word.contains('=') && !word.starts_with('-'));
        words.next().unwrap_or_default().to_owned()
    };
    // A `|` in quotes is jq's.
    let mut is_quoted = false;
    let outside: String = part
        .chars()
        .map(|c| {
            is_quoted ^= c == '\'';
            if is_quoted && c == '|' { ' ' } else { c }
        })
        .collect();
    outside.split('|').map(of_one).collect()
}

/// The node's shell, with our program in its path.
struct Shell {
    place: Place,
    folder: PathBuf,
}

impl Shell {
    fn at(site: &Site) -> Shell {
        let place = site.place(Node::Prod);
        let folder = place.path("");
        let bin = folder.join("bin");
        fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_switchyard"), bin.join("switchyard")).unwrap();
        std::os::unix::fs::symlink(root().canonicalize().unwrap().join("fixtures"), folder.join("fixtures")).unwrap();
        fs::write(folder.join("variables"), "").unwrap();
        Shell { place, folder }
    }

    /// Runs a script: its exit code, and all that it printed. Variables that it writes into `variables` stay.
    fn run(&self, script: &str) -> (i32, String) {
        let here = self.folder.display().to_string();
        let path = format!("{here}/bin:{}", std::env::var("PATH").unwrap());
        let mut command = self.place.command("timeout");
        command
            .args(["60", "bash", "-c", &format!("set -o pipefail -a; . ./variables; set +a; {script}")])
            .current_dir(&self.folder);
        command.env("PATH", path).env("SWITCHYARD_CONFIG", self.folder.join("switchyard.toml")).env("STATE", here);
        command.env_remove("ASTRADIAL_ENV").env_remove("SWITCHYARD_ADMIN_URL").env_remove("SWITCHYARD_STATE_DIR");
        let output = command.stdin(std::process::Stdio::null()).output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (output.status.code().unwrap_or(-1), text)
    }
}

/// The lab's configuration with what the documents speak of beside calls.
fn configuration() -> String {
    let database = "[database]\nurl = \"sqlite://${FOLDER}/directory.db\"\n";
    assert!(CONFIGURATION.contains(database));
    let more = "reconcile_interval = \"1s\"\n[admin]\nlisten = \"127.0.0.1:9161\"\n\
                [metrics]\nlisten = \"127.0.0.1:9160\"\n[capture]\nhep = \"udp:10.10.10.3:9060\"\n";
    CONFIGURATION.replace(database, &format!("{database}{more}"))
}

/// The demonstration of the tutorial, which says where its files are.
fn demonstration(shell: &Shell) -> Process {
    let log = shell.folder.join("demo.log");
    let mut command = shell.place.command(env!("CARGO_BIN_EXE_switchyard"));
    let demo = Process::start(command.arg("demo").env_remove("RUST_LOG"), &log, "switchyard");
    until(|| format!("the demonstration\n{}", text_of(&log)), 3 * PATIENCE, || text_of(&log).contains("Join in"));
    let text = text_of(&log);
    let folder = text.split("sipp -sf ").nth(1).unwrap().split("/call.xml").next().unwrap();
    fs::write(shell.folder.join("variables"), format!("DEMO={folder}\n")).unwrap();
    demo
}

/// The table against the documents, as the run goes on.
#[derive(Default)]
struct Run {
    faults: Vec<String>,
    ran: usize,
    /// What of the table was of use.
    used: BTreeSet<String>,
    page: String,
    /// Page and block of what is run on a machine of its own, by the test of the package.
    on_machine: BTreeSet<(String, usize)>,
}

impl Run {
    fn take(&mut self, table: &Table, shell: &Shell, shown: &Shown) {
        let Shown { page, line, command, .. } = shown;
        let is_new = *page != self.page;
        self.page.clone_from(page);
        for before in table.before.iter().filter(|before| before.page == *page) {
            let is_due = before.command.as_ref().map_or(is_new, |of| command.contains(of.as_str()));
            if is_due {
                self.used.insert(format!("before {page} {:?}", before.command));
                let (code, told) = shell.run(&before.script);
                if code != 0 {
                    self.faults.push(format!("{page}:{line}: before: {}: {code}\n{told}", before.script));
                }
            }
        }
        for part in parts(command) {
            let part = part.trim_start_matches("sudo ");
            if let Some(left) = table.left.iter().find(|left| part.starts_with(&left.command)) {
                self.used.insert(format!("left {}", left.command));
                continue;
            }
            let known = |program: &String| table.run.contains(program);
            if !programs(part).iter().all(known) {
                if self.on_machine.contains(&(page.clone(), shown.block)) {
                    continue;
                }
                self.faults.push(format!("{page}:{line}: nobody runs {part}, and the table does not say why"));
                continue;
            }
            self.run(table, shell, shown, part);
        }
    }

    fn run(&mut self, table: &Table, shell: &Shell, shown: &Shown, part: &str) {
        let mut script = part.to_owned();
        for Replace { text, by } in &table.replace {
            if script.contains(text.as_str()) {
                self.used.insert(format!("replace {text}"));
                script = script.replace(text.as_str(), by);
            }
        }
        let ends = table.ends.iter().find(|ends| part.starts_with(&ends.command));
        if let Some(ends) = ends {
            self.used.insert(format!("ends {}", ends.command));
        }
        let (code, told) = shell.run(&script);
        self.ran += 1;
        if code != ends.map_or(0, |ends| ends.code) {
            self.faults.push(format!("{}:{}: {script}: ended with {code}\n{told}", shown.page, shown.line));
        }
    }

    /// What of the table nothing needed: it tells of documents that are gone.
    fn stale(&self, table: &Table) -> Vec<String> {
        let replace = table.replace.iter().map(|replace| format!("replace {}", replace.text));
        let ends = table.ends.iter().map(|ends| format!("ends {}", ends.command));
        let before = table.before.iter().map(|before| format!("before {} {:?}", before.page, before.command));
        let left = table.left.iter().map(|left| format!("left {}", left.command));
        replace.chain(ends).chain(before).chain(left).filter(|entry| !self.used.contains(entry)).collect()
    }
}

#[test]
fn every_command_of_the_documents_does_what_it_is_for() {
    let (table, site) = (table(), Site::with(49, &configuration()));
    let shell = Shell::at(&site);
    let url = format!("sqlite://{}", shell.folder.join("directory.db").display());
    let (code, told) = shell.run(&format!("SWITCHYARD_ADMIN_URL={url} switchyard db migrate"));
    assert_eq!(code, 0, "{told}");
    // The call that the documents look for.
    let callee = site.callee("call", Node::Staging, 1);
    let named = ["-cid_str", "6a1f0c7d@10.10.10.2"];
    assert_eq!(CALLED, STAGING_DID);
    site.caller("call", Node::Nuc, Calls { number: CALLED, count: 1, per_second: 1, more: &named }).succeeded();
    callee.succeeded();
    assert_eq!(sip(Node::Staging).port(), 5080);
    let _demo = demonstration(&shell);
    let pages = pages();
    let page_text =
        |page: &str| &pages.iter().find(|(own, _)| own == page).unwrap_or_else(|| panic!("no page {page}")).1;
    let blocks = table.machine.iter().flat_map(|step| step.commands(page_text(&step.page)));
    let mut run = Run { on_machine: blocks.map(|shown| (shown.page, shown.block)).collect(), ..Run::default() };
    for (page, text) in &pages {
        for shown in commands_of(page, text) {
            run.take(&table, &shell, &shown);
        }
    }
    let stale = run.stale(&table);
    assert!(run.faults.is_empty(), "{} faults in {} commands\n{}", run.faults.len(), run.ran, run.faults.join("\n\n"));
    assert!(stale.is_empty(), "no command needs any more: {stale:#?}");
    assert!(run.ran > 60, "{}", run.ran);
}
