//! A log and a tap that keep what they are told.

use admin::Instruments;
use admin::api::capture::{CaptureChange, CaptureState};
use admin::api::log::{LogChange, LogState, NewWatch, WatchInEffect};
use std::sync::Mutex;

#[derive(Default)]
pub(super) struct Kept {
    log: Mutex<LogState>,
    capture: Mutex<CaptureState>,
}

impl Instruments for Kept {
    fn log(&self) -> LogState {
        self.log.lock().unwrap().clone()
    }

    fn change_log(&self, change: &LogChange) -> Result<(), String> {
        let mut log = self.log.lock().unwrap();
        match change.level.as_deref() {
            Some("loud") => return Err("found level \"loud\", expected error".to_owned()),
            Some(level) => level.clone_into(&mut log.level),
            None => {}
        }
        log.redact = change.redact.unwrap_or(log.redact);
        Ok(())
    }

    fn watch(&self, watch: &NewWatch) -> Result<(), String> {
        let NewWatch { number, organisation, for_s } = watch.clone();
        self.log.lock().unwrap().watches.push(WatchInEffect { number, organisation, ends_in_s: for_s });
        Ok(())
    }

    fn end_watches(&self) {
        self.log.lock().unwrap().watches.clear();
    }

    fn capture(&self) -> CaptureState {
        self.capture.lock().unwrap().clone()
    }

    fn change_capture(&self, change: &CaptureChange) -> Result<(), String> {
        self.capture.lock().unwrap().what = change.clone();
        Ok(())
    }
}
