//! `switchyard token`: who may log in over the listener. Where no process runs, the file is changed all the same: a token
//! must be there before a listener beyond loopback starts, and a leaked one must not wait for a start.

use super::ask::{EXIT_CODES, Told, Way, ask, duration_s, segment, table};
use admin::api::times::{self, now_ms};
use admin::api::tokens::{TokenEntry, TokenList, TokenMade, TokenWanted};
use admin::{AskFault, Client, Kind, NewToken, Problem, Role, Tokens, TokensFault};
use clap::{Args, Subcommand};
use hyper::Method;
use std::io::Write;
use std::process::ExitCode;

/// What is said where no process has recorded it.
const UNRECORDED: &str = "No process runs: the file has it, the audit does not.";

#[derive(Args)]
pub(super) struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List tokens: ids, names and roles, never a token.
    #[command(after_help = EXIT_CODES)]
    List {
        #[command(flatten)]
        way: Way,
    },
    /// Make a token, and show it this once.
    #[command(after_help = EXIT_CODES)]
    Add {
        #[command(flatten)]
        way: Way,
        /// Whose it is: the name that is recorded with every change.
        who: String,
        /// What it lets them do: viewer, operator or admin.
        #[arg(long, value_parser = role)]
        role: Role,
        /// It ends after this time: 8h, 90d.
        #[arg(long = "for", value_name = "TIME", value_parser = duration_s)]
        for_s: Option<u64>,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Take a token back: it is refused from the next request on.
    #[command(after_help = EXIT_CODES)]
    Revoke {
        #[command(flatten)]
        way: Way,
        /// Its id, as `list` shows it.
        id: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
}

pub(super) fn token(options: Options, out: &mut impl Write, faults: &mut impl Write) -> ExitCode {
    match options.verb {
        Verb::List { way } => ask(&way, out, faults, async |client| {
            let list = match client.fetch("tokens").await {
                Err(AskFault::NotRunning { .. }) => of_file(&client)?,
                answered => answered?,
            };
            Ok(Told::new(listed(&list), &list))
        }),
        Verb::Add { way, who, role, for_s, reason } => {
            let wanted = TokenWanted { who, role, for_s, reason };
            ask(&way, out, faults, async |client| {
                let (made, note) = match client.write::<TokenMade>(Method::POST, "tokens", None, &wanted).await {
                    Err(AskFault::NotRunning { .. }) => (added(&client, &wanted)?, UNRECORDED),
                    answered => (answered?, ""),
                };
                Ok(Told::new(shown(&made, note), &made))
            })
        }
        Verb::Revoke { way, id, reason } => ask(&way, out, faults, async |client| {
            let path = format!("tokens/{}", segment(&id));
            let (entry, note) = match client.end::<TokenEntry>(&path, &reason).await {
                Err(AskFault::NotRunning { .. }) => (revoked(&client, &id)?, UNRECORDED),
                answered => (answered?, ""),
            };
            let text = format!("token {} of {}, {}, is revoked\n{note}", entry.id, entry.who, entry.role);
            Ok(Told::new(text.trim_end(), &entry))
        }),
    }
}

fn role(word: &str) -> Result<Role, String> {
    word.parse()
}

fn of_file(client: &Client) -> Result<TokenList, AskFault> {
    let tokens = Tokens::new(client.state_dir()).list().map_err(refused)?;
    Ok(TokenList { tokens: tokens.iter().map(TokenEntry::from).collect() })
}

fn added(client: &Client, wanted: &TokenWanted) -> Result<TokenMade, AskFault> {
    let now_s = now_ms() / 1_000;
    let TokenWanted { who, role, for_s, .. } = wanted.clone();
    let new = NewToken { who, role, ends_s: for_s.map(|for_s| now_s.saturating_add(for_s)) };
    let (made, token) = Tokens::new(client.state_dir()).add(new, now_s).map_err(refused)?;
    Ok(TokenMade { entry: TokenEntry::from(&made), token })
}

fn revoked(client: &Client, id: &str) -> Result<TokenEntry, AskFault> {
    let revoked = Tokens::new(client.state_dir()).revoke(id).map_err(refused)?;
    Ok(TokenEntry::from(&revoked))
}

fn refused(fault: TokensFault) -> AskFault {
    let is_forbidden =
        matches!(&fault, TokensFault::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied);
    let problem = Problem::from(fault);
    let kind = if is_forbidden { Kind::Forbidden } else { problem.kind };
    AskFault::Refused(Box::new(Problem { kind, ..problem }))
}

fn shown(made: &TokenMade, note: &str) -> String {
    let TokenMade { entry: TokenEntry { id, who, role, .. }, token } = made;
    let text = format!("token {id} of {who}, {role}\n{token}\nThis is the only time that it is shown.\n{note}");
    text.trim_end().to_owned()
}

fn listed(list: &TokenList) -> String {
    if list.tokens.is_empty() {
        return "there are no tokens: nobody can log in by one".to_owned();
    }
    let rows: Vec<[String; 5]> = list
        .tokens
        .iter()
        .map(|token| {
            let end = match token.ends_at_ms {
                _ if token.has_ended => "has ended".to_owned(),
                Some(ends_at_ms) => times::shown(ends_at_ms),
                None => "never".to_owned(),
            };
            let made = times::shown(token.made_at_ms);
            [token.id.clone(), token.who.clone(), token.role.to_string(), made, end]
        })
        .collect();
    table(["ID", "WHO", "ROLE", "MADE", "ENDS"], &rows)
}
