//! baresip as a phone without a sound card.
#![expect(clippy::unwrap_used, reason = "it serves tests alone: a fault here is the test's failure")]

use crate::process::{PATIENCE, Place, Process, text_of, until};
use nix::sys::signal::Signal;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

const WAV_HEAD_BYTES: usize = 44;

/// A phone that sends a tone, and records what it hears.
#[derive(Debug)]
pub struct Phone {
    process: Process,
    folder: PathBuf,
}

impl Phone {
    /// Starts it at `address`. It answers every call, and calls `dial` if there is one.
    pub fn start(
        place: &impl AsRef<Place>,
        address: SocketAddrV4,
        user: &str,
        tone_hz: u32,
        dial: Option<&str>,
    ) -> Phone {
        let place = place.as_ref();
        let folder = place.path(&format!("baresip-{}", address.ip()));
        std::fs::create_dir(&folder).unwrap();
        let (ip, recordings) = (address.ip(), folder.display());
        let config = format!(
            "poll_method epoll\nsip_listen {address}\nnet_interface {ip}\nrtp_ports 10000-10020\n\
             audio_source ausine,{tone_hz}\nausrc_srate 48000\nausrc_channels 2\naudio_player aubridge,none\naudio_alert aubridge,none\n\
             snd_path {recordings}\nmodule_path /usr/lib/baresip/modules\nmodule g711.so\nmodule ausine.so\n\
             module aubridge.so\nmodule sndfile.so\nmodule_app account.so\nmodule_app menu.so\n"
        );
        std::fs::write(folder.join("config"), config).unwrap();
        let account = format!("<sip:{user}@{address}>;regint=0;answermode=auto;audio_codecs=PCMA\n");
        std::fs::write(folder.join("accounts"), account).unwrap();
        std::fs::write(folder.join("contacts"), "").unwrap();
        let mut command = place.command("baresip");
        command.current_dir(&folder).args(["-4", "-v", "-t", "300", "-f"]).arg(&folder);
        if let Some(uri) = dial {
            command.args(["-e", &format!("/dial {uri}")]);
        }
        let mut process = Process::start(&mut command, &folder.join("log"), "baresip-core");
        process.bound(address);
        Phone { process, folder }
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        text_of(&self.folder.join("log"))
    }

    /// Ends it, and its call.
    pub fn hang_up(&mut self) {
        self.process.signal(Signal::SIGTERM);
        self.process.ended();
    }

    /// What it has heard of the other so far: samples of 16 bits, 8,000 a second.
    fn heard(&self) -> Vec<i16> {
        let entries = std::fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path());
        let decoded = |path: &Path| path.to_string_lossy().ends_with("-dec.wav");
        let bytes = entries.filter(|path| decoded(path)).map(|path| std::fs::read(path).unwrap()).next();
        let samples = bytes.unwrap_or_default();
        samples
            .get(WAV_HEAD_BYTES..)
            .unwrap_or_default()
            .as_chunks()
            .0
            .iter()
            .map(|pair| i16::from_le_bytes(*pair))
            .collect()
    }

    /// Waits for a second of sound, and returns its frequency.
    pub fn heard_hz(&self) -> usize {
        let mut last_second = Vec::new();
        until(
            || format!("a second of sound\n{}", self.log()),
            PATIENCE,
            || {
                let mut heard = self.heard();
                last_second = heard.split_off(heard.len().saturating_sub(8_000));
                heard.len() >= 2_000
            },
        );
        // A tone goes up through zero once in each of its periods; silence and noise do not reach this loudness.
        assert!(last_second.iter().any(|sample| sample.unsigned_abs() > 1_000), "silence was heard");
        last_second.windows(2).filter(|pair| matches!(pair, [before, after] if *before < 0 && *after >= 0)).count()
    }
}
