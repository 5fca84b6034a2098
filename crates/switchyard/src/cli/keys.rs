//! `switchyard keys`: the ring behind branches and dialog tokens. No secret is ever printed.

use super::{ConfigOption, Output, print};
use crate::config;
use crate::keys_file::{self, KeyState};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

const ROTATE_HELP: &str = "\
Adds a key to the ring in the state folder. The running process takes it with SIGHUP (systemctl reload switchyard):
from then on the new key signs, and every call that is up goes on by the old one.
Exit code: 0 the ring has a new key, 1 it is as it was.

Example:
  switchyard keys rotate && systemctl reload switchyard";

const FORGET_HELP: &str = "\
Takes a key out of the ring. A call whose token it signed is cut off from its BYE: forget a key only when it has not
signed for longer than the longest call. The running process takes it with SIGHUP.
Exit code: 0 the key is gone, 1 the ring is as it was.";

/// What can be done with the ring.
#[derive(Subcommand)]
pub(super) enum KeysCommand {
    /// List the keys: ids and ages, never secrets.
    List(KeysOptions),
    /// Add a key that signs from now on; the others still verify.
    #[command(after_help = ROTATE_HELP)]
    Rotate(KeysOptions),
    /// Take out a key that only verifies.
    #[command(after_help = FORGET_HELP)]
    Forget(ForgetOptions),
}

#[derive(Args)]
pub(super) struct KeysOptions {
    #[command(flatten)]
    config: ConfigOption,
    /// How the ring is printed.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Args)]
pub(super) struct ForgetOptions {
    #[command(flatten)]
    options: KeysOptions,
    /// The key's id, as `list` shows it.
    id: u8,
}

/// A ring for programs. Field names are stable.
#[derive(Serialize)]
struct Ring {
    keys: Vec<ShownKey>,
}

/// A key, without its secret.
#[derive(Serialize)]
struct ShownKey {
    id: u8,
    /// Whether it signs; the others verify.
    signs: bool,
    /// When it was made, in milliseconds since 1970; left out when that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    made_at_ms: Option<u64>,
}

/// Does it and prints the ring as it is then: 0, or 1 with the fault.
pub(super) fn answer(command: &KeysCommand, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    let options = match command {
        KeysCommand::List(options) | KeysCommand::Rotate(options) => options,
        KeysCommand::Forget(forget) => &forget.options,
    };
    let state_dir = match config::load(&options.config.config) {
        Ok(configuration) => configuration.state_dir,
        Err(found) => {
            print(faults, &found.to_string());
            return ExitCode::FAILURE;
        }
    };
    let done = match command {
        KeysCommand::List(_) => keys_file::list(&state_dir),
        KeysCommand::Rotate(_) => keys_file::rotate(&state_dir),
        KeysCommand::Forget(options) => keys_file::forget(&state_dir, options.id),
    };
    match done {
        Ok(states) if options.output == Output::Json => {
            let keys = states.iter().map(shown).collect();
            print(out, &serde_json::to_string_pretty(&Ring { keys }).unwrap_or_default());
            ExitCode::SUCCESS
        }
        Ok(states) => {
            states.iter().for_each(|state| print(out, &told(state, now_s())));
            if !matches!(command, KeysCommand::List(_)) {
                print(out, "A running process takes this with SIGHUP: systemctl reload switchyard");
            }
            ExitCode::SUCCESS
        }
        Err(fault) => {
            print(faults, &fault.to_string());
            ExitCode::FAILURE
        }
    }
}

fn shown(state: &KeyState) -> ShownKey {
    let made_at_ms = state.made_s.map(|made_s| made_s.saturating_mul(1_000));
    ShownKey { id: state.id, signs: state.signs, made_at_ms }
}

fn told(state: &KeyState, now_s: u64) -> String {
    let does = if state.signs { "signs" } else { "verifies" };
    let age = match state.made_s.map(|made_s| now_s.saturating_sub(made_s)) {
        None => "of unknown age".to_owned(),
        Some(age_s @ 0..3_600) => format!("{} minutes old", age_s / 60),
        Some(age_s @ 3_600..172_800) => format!("{} hours old", age_s / 3_600),
        Some(age_s) => format!("{} days old", age_s / 86_400),
    };
    format!("key {:<3} {does:<8} {age}", state.id)
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_to_programs_without_its_secret() {
        let shown = |made_s| serde_json::to_value(shown(&KeyState { id: 7, signs: true, made_s })).unwrap();
        assert_eq!(shown(Some(5)), serde_json::json!({ "id": 7, "signs": true, "made_at_ms": 5_000 }));
        assert_eq!(shown(None), serde_json::json!({ "id": 7, "signs": true }));
    }

    #[test]
    fn a_key_is_told_by_id_state_and_age() {
        let told = |signs, made_s| told(&KeyState { id: 7, signs, made_s }, 1_000_000);
        assert_eq!(told(true, Some(999_900)), "key 7   signs    1 minutes old");
        assert_eq!(told(false, Some(1_000_000 - 7_200)), "key 7   verifies 2 hours old");
        assert_eq!(told(false, Some(0)), "key 7   verifies 11 days old");
        assert_eq!(told(false, None), "key 7   verifies of unknown age");
        assert_eq!(told(true, Some(2_000_000)), "key 7   signs    0 minutes old", "a clock that went back");
    }
}
