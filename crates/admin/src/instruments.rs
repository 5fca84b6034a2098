//! What the program lets people turn while it runs: its log and its captures.

use crate::api::capture::{CaptureChange, CaptureState};
use crate::api::log::{LogChange, LogState, NewWatch};

/// The program's side of `/log` and `/capture`. The errors say what was found and what was expected.
pub trait Instruments: Send + Sync {
    /// How the log is written now.
    fn log(&self) -> LogState;
    /// Changes it.
    fn change_log(&self, change: &LogChange) -> Result<(), String>;
    /// Tells some calls in detail for a while. The number is E.164 without `+`; the organisation is its id.
    fn watch(&self, watch: &NewWatch) -> Result<(), String>;
    /// Ends every watch.
    fn end_watches(&self);
    /// What is captured now.
    fn capture(&self) -> CaptureState;
    /// Captures something else, or nothing.
    fn change_capture(&self, change: &CaptureChange) -> Result<(), String>;
}
