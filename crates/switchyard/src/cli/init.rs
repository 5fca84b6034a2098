//! `switchyard init`: a configuration with comments, from flags or from answers, checked before it is written.

use super::pages::page;
use super::{CONFIG_PATH, CONFIG_VARIABLE, print};
use crate::config;
use clap::Args;
use std::fs::OpenOptions;
use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) const HELP: &str = "\
Asks for what no flag says, where it runs at a terminal; elsewhere it takes the defaults. What comes out is checked as
`switchyard check` does, and written only if it is good. A file that exists is never overwritten.
Exit code: 0 the file is written, 1 it is not, with the reasons.

Examples:
  sudo switchyard init
  switchyard init --config switchyard.toml --environment staging --listen 10.10.10.3 --gateway udp:10.10.10.1:5060 \\
      --staging udp:127.0.0.1:5080 --database 'mysql://switchyard:${DATABASE_PASSWORD}@10.10.10.1/pbx_api_db'";

/// What is known already.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The file to write.
    #[arg(long, short, value_name = "FILE", env = CONFIG_VARIABLE, default_value = CONFIG_PATH)]
    config: PathBuf,
    /// What this instance is: prod, staging or oss.
    #[arg(long)]
    environment: Option<String>,
    /// Our address, where calls come in.
    #[arg(long, value_name = "IP")]
    listen: Option<String>,
    /// The carrier's gateway.
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<String>,
    /// The PBX of prod.
    #[arg(long, value_name = "ADDRESS")]
    prod: Option<String>,
    /// The PBX of staging; empty for none.
    #[arg(long, value_name = "ADDRESS")]
    staging: Option<String>,
    /// The PBX of oss; empty for none.
    #[arg(long, value_name = "ADDRESS")]
    oss: Option<String>,
    /// The database with the numbers.
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// The caller ID of last resort, the operator's own; empty for none.
    #[arg(long, value_name = "NUMBER")]
    fallback_did: Option<String>,
    /// The folder of keys and snapshots.
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<String>,
}

/// What the file is to say.
struct Answers {
    environment: String,
    listen: String,
    gateway: String,
    targets: [(&'static str, String); 3],
    database: String,
    fallback_did: String,
    state_dir: String,
}

/// Writes the file: 0, or 1 with the reason to `faults`.
pub(super) fn init(options: &Options, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    let is_asked = std::io::stdin().is_terminal();
    let mut input = std::io::stdin().lock();
    let answers = Questions { input: &mut input, out, is_asked }.answers(options);
    match written(&options.config, &answers) {
        Ok(()) => {
            print(out, &next_steps(&options.config, &answers));
            ExitCode::SUCCESS
        }
        Err(fault) => {
            print(faults, &fault);
            ExitCode::FAILURE
        }
    }
}

/// Where answers come from.
struct Questions<'q, I, O> {
    input: &'q mut I,
    out: &'q mut O,
    is_asked: bool,
}

impl<I: BufRead, O: Write> Questions<'_, I, O> {
    fn answers(&mut self, options: &Options) -> Answers {
        let environment =
            self.ask(options.environment.as_deref(), "What is this instance: prod, staging or oss?", "prod");
        let is_prod = environment == "prod";
        let here = if is_prod { "10.10.10.1" } else { "10.10.10.3" };
        let listen = self.ask(options.listen.as_deref(), "Our address, where calls come in:", here);
        let gateway = if is_prod { "udp:10.10.10.2:5060" } else { "udp:10.10.10.1:5060" };
        let gateway = self.ask(options.gateway.as_deref(), "The gateway that calls come from:", gateway);
        let local = format!("udp:{listen}:5070");
        let mut target = |name: &str, flag: &Option<String>, elsewhere: &str| {
            let default = match (name == environment, is_prod) {
                (true, _) => local.as_str(),
                (false, true) => elsewhere,
                // Any other instance than prod keeps every call for its own PBX.
                (false, false) => "",
            };
            self.ask(flag.as_deref(), &format!("The PBX of {name}, or - for none:"), default)
        };
        let targets = [
            ("prod", target("prod", &options.prod, "udp:10.10.10.1:5070")),
            ("staging", target("staging", &options.staging, "udp:10.10.10.3:5080")),
            ("oss", target("oss", &options.oss, "")),
        ];
        let state_dir =
            self.ask(options.state_dir.as_deref(), "The folder of keys and snapshots:", "/var/lib/switchyard");
        let database = format!("sqlite://{state_dir}/directory.db");
        let database = self.ask(options.database.as_deref(), "The database with the numbers:", &database);
        let question = "The caller ID of last resort, a number of your own, or - for none:";
        let fallback_did = self.ask(options.fallback_did.as_deref(), question, "");
        Answers { environment, listen, gateway, targets, database, fallback_did, state_dir }
    }

    /// What the flag says, else the answer, else the default; `-` is nothing.
    fn ask(&mut self, flag: Option<&str>, question: &str, default: &str) -> String {
        if let Some(flag) = flag {
            return flag.trim().to_owned();
        }
        if !self.is_asked {
            return default.to_owned();
        }
        let shown = if default.is_empty() { "-" } else { default };
        let asked = write!(self.out, "{question} [{shown}] ").and_then(|()| self.out.flush());
        let mut answer = String::new();
        // Whoever closes the input takes the defaults.
        let read = asked.and_then(|()| self.input.read_line(&mut answer));
        match (read, answer.trim()) {
            (Err(_), _) | (Ok(_), "") => default.to_owned(),
            (Ok(_), "-") => String::new(),
            (Ok(_), answer) => answer.to_owned(),
        }
    }
}

fn written(path: &Path, answers: &Answers) -> Result<(), String> {
    let (file, text) = (path.display().to_string(), text(answers));
    let checked = config::read(&file, &text, &config::variables(path));
    checked.map_err(|faults| format!("{faults}\nnothing was written"))?;
    // It may hold a password.
    let mut opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(path)
        .map_err(|error| format!("{file}: {error}; nothing was written"))?;
    opened.write_all(text.as_bytes()).map_err(|error| format!("{file}: {error}"))
}

fn text(answers: &Answers) -> String {
    let Answers { environment, listen, gateway, database, fallback_did, state_dir, .. } = answers;
    let ip = if listen.contains(':') && !listen.starts_with('[') { format!("[{listen}]") } else { listen.clone() };
    let [environment, state_dir, gateway, database] =
        [environment, state_dir, gateway, database].map(|text| quoted(text));
    let listen = [format!("udp:{ip}:5060"), format!("tcp:{ip}:5060")].map(|address| quoted(&address)).join(", ");
    let fallback = match fallback_did.is_empty() {
        true => {
            "# fallback_did = \"+91...\"                 # a number of your own: without it unknown callers get 403"
                .to_owned()
        }
        false => format!("fallback_did = {:<26} # what is left is shown as this", quoted(fallback_did)),
    };
    let keys = page("reference/config.md");
    let mut text = format!(
        "# Every other key has a default: {keys}. `switchyard check` holds this file to them.\n\
         environment = {environment}                       # what this instance is; ASTRADIAL_ENV overrides\n\
         state_dir = {state_dir}          # keys, snapshot: it must exist and belong to the program's user\n\n\
         [sip]\n\
         listen = [{listen}]   # no wildcard: it stands in Via\n\n\
         [[trunk]]                                  # the carrier's side\n\
         name = \"tata\"\n\
         gateways = [{gateway}]\n\
         {fallback}\n"
    );
    for (name, target) in answers.targets.iter().filter(|(_, target)| !target.is_empty()) {
        let target = quoted(target);
        text.push_str(&format!(
            "\n[environments.{name}]                        # where calls of its DIDs land\ntargets = [{target}]\n"
        ));
    }
    text.push_str(&format!(
        "\n[database]                                 # read; written only by `switchyard did set` and its like\n\
         url = {database}   # ${{NAME}} is replaced by the variable NAME: a password need not stand here\n"
    ));
    text
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .flat_map(|letter| match letter {
            '"' | '\\' => vec!['\\', letter],
            letter if letter.is_control() => format!("\\u{:04x}", u32::from(letter)).chars().collect(),
            letter => vec![letter],
        })
        .collect();
    format!("\"{escaped}\"")
}

fn next_steps(path: &Path, answers: &Answers) -> String {
    let file = path.display();
    let from = answers.gateway.split(':').nth(1).unwrap_or("10.10.10.2");
    format!(
        "{file} is written, and good. Next:\n  \
         1. switchyard doctor --config {file}       is this machine ready, and the database?\n  \
         2. switchyard explain --config {file} --from {from} NUMBER       where would a call to a number of yours go?\n  \
         3. systemctl enable --now switchyard       serve; then switchyard status --config {file}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
            config: PathBuf::new(),
            environment: None,
            listen: None,
            gateway: None,
            prod: None,
            staging: None,
            oss: None,
            database: None,
            fallback_did: None,
            state_dir: None,
        }
    }

    fn answered(input: &str, options: &Options, is_asked: bool) -> (String, String) {
        let mut out = Vec::new();
        let answers = Questions { input: &mut input.as_bytes(), out: &mut out, is_asked }.answers(options);
        (text(&answers), String::from_utf8(out).unwrap())
    }

    fn is_good(text: &str) -> bool {
        config::read("made", text, &|name| (name == "DATABASE_PASSWORD").then(|| "s3cret".to_owned())).is_ok()
    }

    #[test]
    fn defaults_are_a_good_file_for_each_instance() {
        for environment in ["prod", "staging", "oss"] {
            let options = Options { environment: Some(environment.to_owned()), ..options() };
            let (text, asked) = answered("", &options, false);
            assert!(is_good(&text), "{text}");
            assert_eq!(asked, "");
        }
    }

    #[test]
    fn what_no_flag_says_is_asked() {
        let options = Options { listen: Some("10.10.10.9".to_owned()), ..options() };
        let input = "\nudp:10.10.10.8:5060\n\n-\nudp:10.10.10.4:5080\n\nmysql://switchyard:${DATABASE_PASSWORD}@db/pbx_api_db\n+918065978029\n";
        let (text, asked) = answered(input, &options, true);
        assert!(!asked.contains("Our address") && asked.contains("prod, staging or oss? [prod] "), "{asked}");
        for said in [
            "listen = [\"udp:10.10.10.9:5060\", \"tcp:10.10.10.9:5060\"]",
            "gateways = [\"udp:10.10.10.8:5060\"]",
            "targets = [\"udp:10.10.10.9:5070\"]",
            "targets = [\"udp:10.10.10.4:5080\"]",
            "fallback_did = \"+918065978029\"",
            "@db/pbx_api_db\"",
        ] {
            assert!(text.contains(said), "{said}: {text}");
        }
        assert!(!text.contains("environments.staging") && is_good(&text), "{text}");
    }

    #[test]
    fn nothing_in_an_answer_ends_its_string() {
        assert_eq!(quoted("a\"b\\c\n"), "\"a\\\"b\\\\c\\u000a\"");
    }
}
