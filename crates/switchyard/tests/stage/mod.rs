//! A stage for whole calls: the real `switchyard run` on loopback addresses of its own, and the programs around it.
//!
//! Every stage has a network 127.0.N.0/24, laid out as the real one is: the proxy at .1, the trunk's gateway at .2, the
//! PBXs of prod, staging and oss at .3, .4 and .5.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the lint's leave for tests does not reach the functions they share"
)]

pub(crate) mod caller;
use lab::process::Place;
use lab::program::Program;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const PROGRAM: &str = env!("CARGO_BIN_EXE_switchyard");

/// A running `switchyard` with its configuration and its directory.
pub(crate) struct Stage {
    network: u8,
    place: Place,
    program: Program,
    /// Last: the program ends before its folder goes.
    _folder: tempfile::TempDir,
}

impl Stage {
    /// Starts it in 127.0.`network`.0/24; no other test may use that one. The trunk leaves identity alone: these runs are
    /// about what passes untouched.
    pub(crate) fn start(network: u8) -> Stage {
        Stage::start_with(network, "udp", "caller_id = \"pass\"\n")
    }

    /// The same over `transport`, with these lines in the trunk's table.
    pub(crate) fn start_with(network: u8, transport: &str, trunk: &str) -> Stage {
        Stage::start_by(network, &config_text(network, transport, trunk), |_| PROGRAM.into())
    }

    /// The same by way of a shell that sets these variables: `NAME=value`, where the value may be a command's answer.
    #[allow(dead_code, reason = "not every test that shares the stage sets variables")]
    pub(crate) fn start_under(network: u8, variables: &str) -> Stage {
        let text = format!("#!/bin/sh\n{variables} exec {PROGRAM} \"$@\"\n");
        let configuration = config_text(network, "udp", "caller_id = \"pass\"\n");
        Stage::start_by(network, &configuration, |folder| {
            let script = folder.join("switchyard.sh");
            std::fs::write(&script, text).unwrap();
            std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
            script
        })
    }

    /// The same with a configuration of its own.
    #[allow(dead_code, reason = "not every test that shares the stage has its own configuration")]
    pub(crate) fn start_as(network: u8, configuration: &str) -> Stage {
        Stage::start_by(network, configuration, |_| PROGRAM.into())
    }

    fn start_by(network: u8, configuration: &str, program: impl FnOnce(&Path) -> PathBuf) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::here(folder.path());
        let program = Program::start(&place, &program(folder.path()), configuration);
        Stage { network, place, program, _folder: folder }
    }

    /// The program's process id.
    #[allow(dead_code, reason = "not every test that shares the stage looks at the process")]
    pub(crate) fn pid(&self) -> nix::unistd::Pid {
        self.program.id()
    }

    /// kill -9, and a new process at once; returns when it serves.
    #[allow(dead_code, reason = "not every test that shares the stage kills")]
    pub(crate) fn kill_and_restart(&mut self) {
        self.program.kill_and_restart();
    }

    /// What the program has logged.
    #[allow(dead_code, reason = "not every test that shares the stage reads it")]
    pub(crate) fn log(&self) -> String {
        self.program.log()
    }

    /// Sends the program a signal.
    #[allow(dead_code, reason = "not every test that shares the stage sends one")]
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        self.program.signal(signal);
    }

    /// An address of this stage's network; from 6 on nobody has it yet.
    pub(crate) fn at(&self, host: u8) -> SocketAddrV4 {
        address(self.network, host)
    }

    pub(crate) fn proxy(&self) -> SocketAddrV4 {
        self.at(1)
    }

    pub(crate) fn gateway(&self) -> SocketAddrV4 {
        self.at(2)
    }

    /// The PBX of `environment`.
    pub(crate) fn pbx(&self, environment: &str) -> SocketAddrV4 {
        match environment {
            "prod" => self.at(3),
            "staging" => self.at(4),
            "oss" => self.at(5),
            other => panic!("no environment is called {other}"),
        }
    }
}

impl AsRef<Place> for Stage {
    fn as_ref(&self) -> &Place {
        &self.place
    }
}

fn address(network: u8, host: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(127, 0, network, host), 5060)
}

fn config_text(network: u8, transport: &str, trunk: &str) -> String {
    let [proxy, gateway, prod, staging, oss] = [1, 2, 3, 4, 5].map(|host| address(network, host));
    format!(
        "state_dir = \"${{FOLDER}}\"\n[caller_id]\nendpoint_header = \"X-Astradial-Endpoint\"\n\
         [sip]\nlisten = [\"{transport}:{proxy}\"]\n\
         [[trunk]]\nname = \"tata\"\ngateways = [\"{transport}:{gateway}\"]\n{trunk}\
         [probe]\ninterval = \"0s\"\n[environments.prod]\ntargets = [\"{transport}:{prod}\"]\n\
         [environments.staging]\ntargets = [\"{transport}:{staging}\"]\n\
         [environments.oss]\ntargets = [\"{transport}:{oss}\"]\n\
         [metrics]\nlisten = \"127.0.{network}.1:9160\"\n\
         [database]\nurl = \"sqlite://${{FOLDER}}/directory.db\"\n"
    )
}
