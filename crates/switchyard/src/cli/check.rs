//! `switchyard check`: every fault of a configuration, or what it means.

use super::print;
use crate::config::{self, summary::Summary};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Prints what the file at `path` means to `out`, or its faults to `faults`: 0 or 1.
pub(super) fn check(path: &Path, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    match config::load(path) {
        Ok(configuration) => {
            let file = path.display().to_string();
            print(out, &Summary { file: &file, configuration: &configuration }.to_string());
            ExitCode::SUCCESS
        }
        Err(found) => {
            print(faults, &found.to_string());
            let count = found.list.len();
            print(faults, &format!("{count} fault{}", if count == 1 { "" } else { "s" }));
            ExitCode::FAILURE
        }
    }
}
