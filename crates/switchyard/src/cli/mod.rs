//! The command line: what can be asked of the program, and who answers.

mod ask;
mod audit;
mod calls;
mod capture;
mod check;
mod db;
mod did;
mod did_table;
mod directory;
mod doctor;
mod drain;
pub mod explain;
mod generated;
mod health;
mod import_asterisk;
mod init;
mod keys;
mod lease;
pub mod lint;
mod log;
mod pages;
mod panic;
mod peer;
mod shown;
mod smoke;
mod tester;
mod token;

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Where the configuration is unless `--config` or this variable says otherwise.
const CONFIG_VARIABLE: &str = "SWITCHYARD_CONFIG";
const CONFIG_PATH: &str = "/etc/switchyard/switchyard.toml";

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("SWITCHYARD_TARGET"), ")");

const EXAMPLES: &str = "\
Examples:
  switchyard demo                                        see it work, on loopback alone
  switchyard check --config switchyard.toml              every fault of a configuration, before it is used
  switchyard run --config switchyard.toml                the proxy itself
  switchyard explain --from 10.10.10.2 +918065978021     where a call would go, and by which rules
  switchyard caller-id lint                              who would call out with a number not his own
  switchyard status                                      what the running proxy has counted
  switchyard did set +918065978021 staging --for 2h --reason \"new IVR\"     send a number elsewhere for a while

Every command takes --help.";

const CHECK_HELP: &str = "\
Prints every fault at once, each as FILE:LINE: KEY: found .., expected ..
Exit code: 0 the file is good, 1 it has faults.

Example:
  switchyard check --config /etc/switchyard/switchyard.toml";

const RUN_HELP: &str = "\
Signals:
  SIGTERM, SIGINT  no new calls (503); open transactions finish, within limits.drain_limit
  SIGHUP           reads the configuration again; a bad one is refused and the old one stays

Logs go to stderr; RUST_LOG chooses what is logged (RUST_LOG=debug).
Exit code: 0 a good end, 1 it did not start or it failed.";

/// A real-time SIP dispatch proxy: each call goes to the environment of its number.
#[derive(Parser)]
#[command(name = "switchyard", version = VERSION, after_help = EXAMPLES, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the proxy until it is told to end.
    #[command(after_help = RUN_HELP)]
    Run(ConfigOption),
    /// Say what happened to a call: why it went where it went, and its messages.
    Call(calls::CallOptions),
    /// List the last calls, or follow those that end.
    #[command(after_help = ask::EXIT_CODES)]
    Calls(calls::CallsOptions),
    /// Check a configuration and say what it means.
    #[command(after_help = CHECK_HELP)]
    Check(ConfigOption),
    /// Say where a call would go, with every rule tried.
    #[command(after_help = explain::HELP)]
    Explain(explain::Options),
    /// Ask about caller IDs.
    #[command(subcommand)]
    CallerId(CallerIdCommand),
    /// See and change the keys behind dialog tokens.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Show what the running proxy has counted.
    Status(StatusOptions),
    /// Say whether calls are served as they should be.
    #[command(after_help = ask::EXIT_CODES)]
    Health(health::HealthOptions),
    /// List the limits on calls, with what is used of them.
    #[command(after_help = ask::EXIT_CODES)]
    Limits(health::LimitsOptions),
    /// Give the proxy tables and triggers of its own in the database.
    #[command(subcommand)]
    Db(db::Command),
    /// See DIDs, and say where their calls land.
    Did(did::Options),
    /// See leases, and end them.
    Lease(lease::Options),
    /// Send one caller's calls elsewhere.
    Tester(tester::Options),
    /// Send everything to prod.
    Panic(panic::Options),
    /// See gateways and targets, and say which of them take new calls.
    Peer(peer::Options),
    /// Refuse new calls so that the gateway takes its other way; what has begun goes on.
    #[command(after_help = drain::HELP)]
    Drain(drain::Options),
    /// See what is wrong with the data, its generations, and what the guard holds back.
    Directory(directory::Options),
    /// Look whether this machine, the database and the running process are as they should be.
    #[command(after_help = doctor::HELP)]
    Doctor(doctor::Options),
    /// Write a configuration with comments, from flags or from answers.
    #[command(after_help = init::HELP)]
    Init(init::Options),
    /// Compare the dialplan that carried DIDs before with the database's table.
    #[command(after_help = import_asterisk::HELP)]
    ImportAsterisk(import_asterisk::Options),
    /// See who changed what.
    Audit(audit::Options),
    /// See, make and revoke the tokens with which people log in.
    Token(token::Options),
    /// See and change what the log tells, and of whose calls.
    Log(log::Options),
    /// Send what passes on the wire to a capture server.
    Capture(capture::Options),
    /// Place one call through the running proxy, and say whether it went as it should.
    #[command(after_help = smoke::HELP)]
    Smoke(smoke::Options),
    /// Print what a shell reads to complete our command lines.
    Completions(generated::CompletionsOptions),
    /// Write the man pages into a folder.
    Man(generated::ManOptions),
    /// See it work: the proxy, a gateway and three PBXs on loopback, with calls between them.
    Demo(DemoOptions),
}

#[derive(Subcommand)]
enum CallerIdCommand {
    /// List every user and organisation that is not shown by a number of its own choice, and why.
    #[command(after_help = lint::HELP)]
    Lint(lint::Options),
}

/// The option that every command with a configuration has.
#[derive(Args, Debug)]
struct ConfigOption {
    /// The configuration file.
    #[arg(long, short, value_name = "FILE", env = CONFIG_VARIABLE, default_value = CONFIG_PATH)]
    config: PathBuf,
}

#[derive(Args)]
struct StatusOptions {
    #[command(flatten)]
    config: ConfigOption,
    /// How the answer is printed.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Args)]
struct DemoOptions {
    /// End after the first round of calls: exit code 0 if all went as they should, else 1.
    #[arg(long)]
    once: bool,
}

/// How an answer is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs: field names are stable.
    Json,
}

/// Does what the process was asked for.
pub fn main() -> ExitCode {
    answer(std::env::args_os(), &mut io::stdout().lock(), &mut io::stderr().lock())
}

/// Does what `arguments` ask for; the first of them is the program's name.
///
/// A wrong command line ends with 1, as any error does: 2 is the answer of `explain` for a refused call.
pub fn answer(
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut impl Write,
    faults: &mut impl Write,
) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are asked for; anything else is a mistake. A closed pipe is the reader's choice.
            let _printed = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match arguments.command {
        Command::Run(options) => crate::run::run(&options.config),
        Command::Call(options) => calls::call(&options, out, faults),
        Command::Calls(options) => calls::calls(&options, out, faults),
        Command::Check(options) => check::check(&options.config, out, faults),
        Command::Explain(options) => explain::explain(&options, out, faults),
        Command::CallerId(CallerIdCommand::Lint(options)) => lint::lint(&options, out, faults),
        Command::Keys(command) => keys::answer(&command, out, faults),
        Command::Status(options) => crate::status::status(&options.config.config, options.output == Output::Json),
        Command::Health(options) => health::health(&options, out, faults),
        Command::Limits(options) => health::limits(&options, out, faults),
        Command::Db(command) => db::db(&command, out, faults),
        Command::Did(options) => did::did(options, out, faults),
        Command::Lease(options) => lease::lease(options, out, faults),
        Command::Tester(options) => tester::tester(options, out, faults),
        Command::Panic(options) => panic::panic(options, out, faults),
        Command::Peer(options) => peer::peer(options, out, faults),
        Command::Drain(options) => drain::drain(options, out, faults),
        Command::Directory(options) => directory::directory(options, out, faults),
        Command::Doctor(options) => doctor::doctor(&options, out, faults),
        Command::Init(options) => init::init(&options, out, faults),
        Command::ImportAsterisk(options) => import_asterisk::import(&options, out, faults),
        Command::Audit(options) => audit::audit(options, out, faults),
        Command::Token(options) => token::token(options, out, faults),
        Command::Log(options) => log::log(options, out, faults),
        Command::Capture(options) => capture::capture(options, out, faults),
        Command::Smoke(options) => smoke::smoke(&options, out, faults),
        Command::Completions(options) => generated::completions(&options, out),
        Command::Man(options) => generated::man(&options, out, faults),
        Command::Demo(options) => crate::demo::demo(crate::demo::Options { once: options.once }),
    }
}

/// Whether these words are a command line of ours, for those who write some down: nothing is done. `Ok(false)` where they
/// are the beginning of one; `Err` says what we do not know.
pub fn is_ours(words: &[String]) -> Result<bool, String> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    match Arguments::try_parse_from(words) {
        Ok(_) => Ok(true),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(true),
            ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Ok(false),
            // An option without its value.
            ErrorKind::InvalidValue if matches!(error.get(ContextKind::InvalidValue), Some(ContextValue::String(value)) if value.is_empty()) => {
                Ok(false)
            }
            _ => Err(error.to_string()),
        },
    }
}

/// Prints an answer. Nobody reads on after a closed pipe, so only the exit code is left to say.
fn print(to: &mut impl Write, text: &str) {
    let _written = writeln!(to, "{text}").and_then(|()| to.flush());
}
