//! `switchyard db`: what a database needs beyond the right to read. `plan` prints it, `migrate` runs it, and nothing else
//! of the program ever makes a table, a right or a trigger.

use super::{ConfigOption, print};
use crate::config;
use clap::{Args, Subcommand};
use std::io::Write;
use std::process::ExitCode;
use sync::Migration;

const PLAN_HELP: &str = "\
Prints the SQL that `switchyard db migrate` would run, as a script for the engine's own client: tables of our own, the
rights to them, and the triggers that keep the change log. Nothing is connected to.

Examples:
  switchyard db plan                                   for the database of the configuration
  switchyard db plan --no-triggers                     without a change log
  switchyard db plan | mariadb pbx_api_db              the same as db migrate, by hand";

const MIGRATE_HELP: &str = "\
Runs what `switchyard db plan` prints, with the rights of --url; it may be run again at any time. The URL is that of an
administrator: it is used once, and never kept. In the variable it is not seen by other users of this machine.
Exit code: 0 all of it was run, 1 it was not: the reason is on stderr, and what was run stays.

Example:
  SWITCHYARD_ADMIN_URL='mysql://root:...@127.0.0.1/pbx_api_db' switchyard db migrate";

#[derive(Subcommand)]
pub(super) enum Command {
    /// Print the SQL that gives the proxy tables and triggers of its own.
    #[command(after_help = PLAN_HELP)]
    Plan(PlanOptions),
    /// Run it, with the rights of an administrator.
    #[command(after_help = MIGRATE_HELP)]
    Migrate(MigrateOptions),
}

#[derive(Args)]
pub(super) struct PlanOptions {
    /// The database [default: database.url of the configuration].
    #[arg(long, value_name = "URL", env = "SWITCHYARD_ADMIN_URL", hide_env_values = true)]
    url: Option<String>,
    #[command(flatten)]
    wanted: Wanted,
}

#[derive(Args)]
pub(super) struct MigrateOptions {
    /// The database, for an account that may make tables, rights and triggers.
    #[arg(long, value_name = "URL", env = "SWITCHYARD_ADMIN_URL", hide_env_values = true)]
    url: String,
    #[command(flatten)]
    wanted: Wanted,
}

#[derive(Args)]
struct Wanted {
    #[command(flatten)]
    config: ConfigOption,
    /// The account with which the proxy logs in: NAME, in MariaDB NAME@HOST as the server sees it [default: that of
    /// database.url].
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// Our own tables alone, no change log: changes are found by comparison.
    #[arg(long)]
    no_triggers: bool,
    /// A change log in an SQLite file too: there a trigger that fails fails the write.
    #[arg(long, conflicts_with = "no_triggers")]
    sqlite_triggers: bool,
}

/// Does what is asked for: 0 or 1.
pub(super) fn db(command: &Command, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    let done = match command {
        Command::Plan(options) => plan(options).map(|script| print(out, script.trim_end())),
        Command::Migrate(options) => migrate(options, out),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            print(faults, &fault);
            ExitCode::FAILURE
        }
    }
}

fn plan(options: &PlanOptions) -> Result<String, String> {
    let configured = configured(&options.wanted)?;
    let url = options.url.as_deref().unwrap_or(&configured.url);
    let migration = migration(&options.wanted, &configured, url)?;
    let statements = sync::plan(url, &migration).map_err(|fault| told(url, &fault))?;
    sync::script(url, &statements).map_err(|fault| told(url, &fault))
}

fn migrate(options: &MigrateOptions, out: &mut impl Write) -> Result<(), String> {
    let configured = configured(&options.wanted)?;
    let url = &options.url;
    let migration = migration(&options.wanted, &configured, url)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let run = sync::migrate(url, &migration, |statement| print(out, &statement.purpose));
    let count = runtime.block_on(run).map_err(|fault| told(url, &fault))?;
    print(out, &format!("{count} statements were run; a running proxy finds them within database.reconcile_interval"));
    Ok(())
}

fn configured(wanted: &Wanted) -> Result<sync::Settings, String> {
    let loaded = config::load(&wanted.config.config);
    loaded.map(|configuration| configuration.database).map_err(|faults| faults.to_string())
}

fn migration(wanted: &Wanted, configured: &sync::Settings, url: &str) -> Result<Migration, String> {
    // Grants go to the account that the proxy uses, which is not the one that makes them.
    let account = match &wanted.account {
        Some(account) => account.clone(),
        None => sync::account_of(&configured.url)
            .map_err(|fault| fault.to_string())?
            .or_else(|| url.starts_with("sqlite:").then(String::new))
            .ok_or_else(|| {
                let shown = sync::masked_url(&configured.url);
                format!(
                    "--account: found none, expected the account of database.url ({shown}) as the database sees it, for \
                     example switchyard@10.10.10.1"
                )
            })?,
    };
    let has_change_log = !wanted.no_triggers && (wanted.sqlite_triggers || !url.starts_with("sqlite:"));
    Ok(Migration { mapping: configured.mapping.clone(), account, has_change_log })
}

fn told(url: &str, fault: &sync::SyncFault) -> String {
    format!("{}: {fault}", sync::masked_url(url))
}
