//! A running `tcpdump`.
#![expect(clippy::unwrap_used, reason = "it serves tests and people who look: a fault here ends the attempt")]

use crate::process::{PATIENCE, Process, text_of, until};
use crate::{Capture, Lab, Node};
use std::path::{Path, PathBuf};

/// A capture that goes on until this value is dropped.
#[derive(Debug)]
pub struct Tap {
    path: PathBuf,
    _process: Process,
}

impl Tap {
    /// Captures what passes an interface of `node` from now on; `any` is all of them.
    pub fn start(lab: &Lab, node: Node, interface: &str) -> Tap {
        let path = lab.path(&format!("{}-{interface}.pcap", node.name()));
        let log = path.with_extension("log");
        let mut command = lab.command(node, "tcpdump").unwrap();
        command.args(["-i", interface, "-n", "-U", "--immediate-mode", "-Z", "root"]);
        if interface == "any" {
            // The older of its two forms, which every reader knows.
            command.args(["-y", "LINUX_SLL"]);
        }
        let process = Process::start(command.arg("-w").arg(&path), &log, "tcpdump");
        until(|| format!("tcpdump to listen\n{}", text_of(&log)), PATIENCE, || text_of(&log).contains("listening on"));
        Tap { path, _process: process }
    }

    /// The file that it writes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What has passed so far.
    pub fn so_far(&self) -> Capture {
        Capture::read(&self.path).unwrap()
    }
}
