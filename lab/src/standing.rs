//! A lab that stands on its own: a process in the background holds it up, and takes one line at a time on a socket in
//! the lab's folder.

use anyhow::{Context, Result, bail};
use lab::program::{CONFIGURATION, Program};
use lab::tap::Tap;
use lab::{Impairment, Lab, Node};
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SOCKET: &str = "control";
const STANDS: &str = "stands";
/// How long a lab may take to go.
const GOING: Duration = Duration::from_secs(30);

/// Starts the holder in the background, and waits until its lab stands. How to enter it.
pub(crate) fn up(binary: &Path, seed: u64) -> Result<String> {
    let mut holder = Command::new(std::env::current_exe()?);
    holder.arg("hold").arg("--binary").arg(binary).args(["--seed", &seed.to_string()]);
    // In a group of its own, so that it outlives the terminal's interrupts.
    holder.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    // Nor does it keep a pipe open that somebody reads to its end: its complaints go to a file without a name.
    let mut complaints = tempfile::tempfile()?;
    holder.stderr(complaints.try_clone()?);
    let mut holder = holder.spawn().context("cannot start the holder")?;
    let told = BufReader::new(holder.stdout.take().context("the holder has no output")?);
    let mut text = String::new();
    for line in told.lines() {
        let line = line?;
        if line == STANDS {
            return Ok(text);
        }
        text += &line;
        text.push('\n');
    }
    let ended = holder.wait()?;
    let mut complaint = String::new();
    complaints.rewind()?;
    complaints.read_to_string(&mut complaint)?;
    bail!("the lab did not come up: the holder ended with {ended}\n{complaint}")
}

/// Holds a lab up until it is told to go.
pub(crate) fn hold(binary: &Path, seed: u64) -> Result<()> {
    let lab = Lab::up_beside_others(seed)?;
    let listener = UnixListener::bind(lab.path(SOCKET))?;
    let tap = Tap::start(&lab, Node::Prod, "any");
    let _program = Program::start(&lab.place(Node::Prod)?, binary, CONFIGURATION);
    // The last line tells whoever started this that it may go.
    println!("{}{STANDS}", how_to_enter(&lab, &tap)?);
    for stream in listener.incoming() {
        let mut stream = stream?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)?;
        if line.trim() == "down" {
            return Ok(());
        }
        let answer = answer(&lab, line.trim()).unwrap_or_else(|fault| format!("{fault:#}"));
        // Who does not wait for the answer does not want it.
        let _told = stream.write_all(answer.as_bytes());
    }
    Ok(())
}

fn answer(lab: &Lab, line: &str) -> Result<String> {
    let (verb, words) = line.split_once(' ').unwrap_or((line, ""));
    match verb {
        "impair" => {
            let (first, rest) = words.split_once(' ').unwrap_or((words, ""));
            let spoke = Node::named(first).filter(|node| Node::SPOKES.contains(node));
            let impairment = if spoke.is_some() { rest } else { words };
            let impairment: Impairment = impairment.parse().map_err(anyhow::Error::msg)?;
            match spoke {
                Some(spoke) => lab.relay().impair_path(spoke, impairment),
                None => lab.relay().impair(impairment),
            }
            Ok(format!("from now on: {impairment}"))
        }
        "counts" => Ok(format!("{:#?}", lab.relay().all_counts())),
        _ => bail!("found {verb:?}, expected impair, counts or down"),
    }
}

/// Tells every standing lab this line; what they answered.
pub(crate) fn ask(line: &str) -> Result<String> {
    let mut answers = Vec::new();
    for folder in standing()? {
        let mut stream = UnixStream::connect(folder.join(SOCKET))?;
        writeln!(stream, "{line}")?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        answers.push(answer);
    }
    if answers.is_empty() {
        bail!("no lab stands: cargo xtask lab --shell");
    }
    Ok(answers.join("\n"))
}

/// Takes away every standing lab, and what dead ones have left.
pub(crate) fn down() -> Result<String> {
    let folders = standing()?;
    for folder in &folders {
        let mut stream = UnixStream::connect(folder.join(SOCKET))?;
        writeln!(stream, "down")?;
    }
    let begun = Instant::now();
    while folders.iter().any(|folder| folder.exists()) {
        if begun.elapsed() > GOING {
            bail!("after {GOING:?} something is still there: {folders:?}");
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let swept = lab::sweep()?.len();
    Ok(format!("{} taken down, {swept} dead swept", folders.len()))
}

/// The folders of the labs that take lines.
fn standing() -> Result<Vec<PathBuf>> {
    let folders = lab::runs()?.into_iter().map(|run| std::env::temp_dir().join(run));
    Ok(folders.filter(|folder| UnixStream::connect(folder.join(SOCKET)).is_ok()).collect())
}

fn how_to_enter(lab: &Lab, tap: &Tap) -> Result<String> {
    let enter = enter(lab)?;
    let enter = enter.display();
    let folder = lab.folder().display();
    let capture = tap.path().display();
    Ok(format!(
        "The lab stands. To enter a node, or run a command there:\n\
         \x20 gateway  10.10.10.2  {enter} nuc\n\
         \x20 prod     10.10.10.1  {enter} prod\n\
         \x20 staging  10.10.10.3  {enter} staging\n\
         \x20 oss      10.10.10.4  {enter} oss\n\
         \x20 for example          {enter} prod wg show\n\
         The proxy's configuration, log and directory: {folder}\n\
         All that prod sees: sngrep -I {capture}\n\
         A call, in two terminals:\n\
         \x20 {enter} staging sipp -sf fixtures/sipp/call.callee.xml -i 10.10.10.3 -p 5080 -m 1\n\
         \x20 {enter} nuc sipp 10.10.10.1:5060 -sf fixtures/sipp/call.caller.xml -i 10.10.10.2 -p 5060 -s +918065978021 -m 1\n\
         The paths: cargo xtask lab --impair \"loss=10 jitter=50ms\", cargo xtask lab --impair \"staging cut\"\n\
         To take it away: cargo xtask lab --down\n"
    ))
}

/// A script that runs a command, or a shell, on a node. `ip netns exec` alone does not do: `wg` finds an interface by a
/// socket under the `/run` of its node.
fn enter(lab: &Lab) -> Result<PathBuf> {
    let mut script = "#!/bin/sh\n# NODE [COMMAND...]: runs it on that node of the lab, or a shell.\n".to_owned();
    script += "node=$1\nshift\n[ $# -gt 0 ] || set -- bash\ncase $node in\n";
    for node in Node::ALL {
        let words: String = lab.entry(node)?.iter().map(|word| format!("'{word}' ")).collect();
        script += &format!("{}) exec {words}\"$@\" ;;\n", node.name());
    }
    script += "*) echo \"found '$node', expected nuc, prod, staging or oss\" >&2; exit 2 ;;\nesac\n";
    let path = lab.path("enter");
    std::fs::write(&path, script)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}
