//! A lab that stands on its own: a process in the background holds it up, and takes one line at a time on a socket in
//! the lab's folder.

use anyhow::{Context, Result, bail};
use lab::program::{CONFIGURATION, Program};
use lab::tap::Tap;
use lab::{Impairment, Lab, Node};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
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
    holder.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).process_group(0);
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
    bail!("the lab did not come up: the holder ended with {}", holder.wait()?)
}

/// Holds a lab up until it is told to go.
pub(crate) fn hold(binary: &Path, seed: u64) -> Result<()> {
    let lab = Lab::up_beside_others(seed)?;
    let listener = UnixListener::bind(lab.path(SOCKET))?;
    let tap = Tap::start(&lab, Node::Prod, "any");
    let _program = Program::start(&lab.place(Node::Prod)?, binary, CONFIGURATION);
    // The last line tells whoever started this that it may go.
    println!("{}{STANDS}", how_to_enter(&lab, &tap));
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

fn how_to_enter(lab: &Lab, tap: &Tap) -> String {
    let name = |node| lab.namespace(node);
    let (nuc, prod, staging, oss) = (name(Node::Nuc), name(Node::Prod), name(Node::Staging), name(Node::Oss));
    let folder = lab.folder().display();
    let capture = tap.path().display();
    format!(
        "The lab stands. To enter a node:\n\
         \x20 gateway  10.10.10.2  ip netns exec {nuc} bash\n\
         \x20 prod     10.10.10.1  ip netns exec {prod} bash\n\
         \x20 staging  10.10.10.3  ip netns exec {staging} bash\n\
         \x20 oss      10.10.10.4  ip netns exec {oss} bash\n\
         The proxy's configuration, log and directory: {folder}\n\
         All that prod sees: sngrep -I {capture}\n\
         A call, in two terminals:\n\
         \x20 ip netns exec {staging} sipp -sf fixtures/sipp/call.callee.xml -i 10.10.10.3 -p 5080 -m 1\n\
         \x20 ip netns exec {nuc} sipp 10.10.10.1:5060 -sf fixtures/sipp/call.caller.xml -i 10.10.10.2 -p 5060 -s +918065978021 -m 1\n\
         The paths: cargo xtask lab --impair \"loss=10 jitter=50ms\", cargo xtask lab --impair \"staging cut\"\n\
         To take it away: cargo xtask lab --down\n"
    )
}
