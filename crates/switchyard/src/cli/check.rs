//! `switchyard check`: every fault of a configuration, or what it means.

use super::explain::directory_of;
use super::print;
use crate::config::{self, Configuration, summary::Summary};
use directory::Directory;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How long a check waits for a database that does not answer.
const DIRECTORY_PATIENCE: Duration = Duration::from_secs(5);

/// Prints what the file at `path` means to `out`, or its faults to `faults`: 0 or 1.
pub(super) fn check(path: &Path, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    match config::load(path) {
        Ok(configuration) => {
            let file = path.display().to_string();
            print(out, &Summary { file: &file, configuration: &configuration }.to_string());
            check_fallbacks(&configuration, faults)
        }
        Err(found) => {
            print(faults, &found.to_string());
            let count = found.list.len();
            print(faults, &format!("{count} fault{}", if count == 1 { "" } else { "s" }));
            ExitCode::FAILURE
        }
    }
}

/// Holds each fallback DID to the directory: an organisation's own number is shown for strangers only where the file
/// names that organisation.
fn check_fallbacks(configuration: &Configuration, faults: &mut impl Write) -> ExitCode {
    if configuration.fallback_dids.is_empty() {
        return ExitCode::SUCCESS;
    }
    let directory = match directory_of(configuration, DIRECTORY_PATIENCE) {
        Ok(directory) => directory,
        Err(fault) => {
            print(faults, &format!("fallback_did could not be held to the directory: {fault}"));
            return ExitCode::SUCCESS;
        }
    };
    let wrong = foreign_fallbacks(configuration, &directory);
    for fault in &wrong {
        print(faults, fault);
    }
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The fallback DIDs that an organisation has which `fallback_owner` does not name, in words.
pub(super) fn foreign_fallbacks(configuration: &Configuration, directory: &Directory) -> Vec<String> {
    let owner_of = |trunk| configuration.fallback_owners.iter().find(|(id, _)| *id == trunk).map(|(_, name)| name);
    let wrong = configuration.fallback_dids.iter().filter_map(|(trunk, number)| {
        let organisation = directory.organisation(directory.did(*number)?.organisation()?);
        let named = owner_of(*trunk).is_some_and(|name| *name == organisation.name || *name == organisation.uuid);
        let trunk = configuration.core.party(*trunk).map_or("", |party| &party.name);
        (!named).then(|| {
            format!(
                "trunk {trunk}: fallback_did: found +{number}, which {name} has, expected a number of the operator, or \
                 fallback_owner = {name:?}",
                name = organisation.name
            )
        })
    });
    wrong.collect()
}
