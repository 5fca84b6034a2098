//! `switchyard status`: asks the running process and shows what it says.

use crate::config;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// Shows the status of the process that runs with the configuration at `path`: a table, or JSON. 1 says that no process
/// answers, or that the configuration is bad.
pub fn status(path: &Path, json: bool) -> ExitCode {
    match text(path, json).and_then(|text| Ok(io::stdout().write_all(text.as_bytes())?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            // With nobody to read it, the exit code says it alone.
            let _written = writeln!(io::stderr(), "{fault}");
            ExitCode::FAILURE
        }
    }
}

fn text(path: &Path, json: bool) -> anyhow::Result<String> {
    let configuration = config::load(path).map_err(|faults| anyhow::anyhow!("{faults}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(admin::fetch_status(&configuration.state_dir))?;
    Ok(if json { serde_json::to_string_pretty(&status)? + "\n" } else { status.to_string() })
}
