//! What the account of `database.url` may do, held against what it has to: `switchyard doctor` asks. It reads, and changes
//! nothing.
//!
//! An account needs to read the columns of the four tables that there are. Once our own tables are there it needs to write
//! them, and the one column of a DID's environment. Whatever it may do beside is named as more than it needs.

mod catalogue;
mod file;
mod grants;

use directory::rows::Column;

use crate::fault::SyncFault;
use crate::mapping::{TABLES, TableNames, columns};
use crate::own_tables::OwnTable;
use crate::settings::Settings;
use crate::source::{Dialect, Engine};

pub use file::User;

/// What was found. Each text is one right with its place, as people name them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rights {
    /// Who it is: the account as the server knows it, or a file's user by number.
    pub account: String,
    /// What the reading of the four tables lacks.
    pub unread: Vec<String>,
    /// What writing lacks, with what fails for want of it.
    pub unwritten: Vec<String>,
    /// What nothing of ours needs.
    pub excess: Vec<String>,
    /// Whether our own tables are there. Without them nothing is written, and no right to write is needed.
    pub writes: bool,
    /// Optional columns that are not there, or not shown to this account. They read as NULL in every row.
    pub missing_columns: Vec<MissingColumn>,
}

/// A column that the directory does without.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MissingColumn {
    /// Its table, as it is called here.
    pub table: String,
    /// Its own name in the reference schema.
    pub column: &'static str,
    /// What does not work without it.
    pub without: &'static str,
}

/// One table, and what is to be done with it.
struct Wanted {
    /// As people name it.
    shown: String,
    /// The schema in which it stands, where that is said.
    schema: Option<String>,
    name: String,
    /// Which of the four it is, with its names here.
    names: Option<TableNames>,
    /// What writing it needs, and what fails without: privilege, column, consequence.
    writes: Vec<(&'static str, Option<String>, &'static str)>,
    /// What it may have without a word.
    allowed: Vec<(&'static str, Option<String>)>,
}

/// What an account may do with one table.
#[derive(Default, Debug)]
struct Held {
    /// The table's columns, as far as they are shown; none where it is not.
    columns: Vec<String>,
    /// Privileges to the whole of it.
    whole: Vec<String>,
    /// Privileges to single columns.
    single: Vec<(String, String)>,
    /// Privileges that were given for this table by name, which is where more than enough can be seen.
    given: Vec<(String, Option<String>)>,
    /// What keeps its rows from this account although it may read it.
    hidden: Option<String>,
}

/// Asks the database of `settings`. `call_records` says whether records of calls are to be written to it; `user` is who runs
/// the proxy, which a file asks.
pub async fn rights(settings: &Settings, call_records: bool, user: &User) -> Result<Rights, SyncFault> {
    let mut engine = Engine::new(settings)?;
    if engine.dialect() == Dialect::Sqlite {
        return file::rights(&mut engine, settings, call_records, user).await;
    }
    engine.connect().await?;
    let mut found = Rights::default();
    let all: Vec<Wanted> = wanted(settings).collect();
    let held = match engine.dialect() {
        Dialect::MariaDb => grants::held(&mut engine, &all, &mut found).await?,
        _ => catalogue::held(&mut engine, &all, &mut found).await?,
    };
    judge(&all, &held, call_records, &mut found);
    Ok(found)
}

/// The four tables, then our own in their order.
fn wanted(settings: &Settings) -> impl Iterator<Item = Wanted> {
    let read = TABLES.into_iter().map(|table| {
        let names = settings.mapping.of(table).clone();
        let environment = (table == directory::Table::Dids).then(|| names.column("routing_environment").to_owned());
        let moves = environment.map(|column| ("UPDATE", Some(column)));
        Wanted {
            shown: names.shown(),
            schema: names.schema.clone(),
            name: names.name.clone(),
            writes: moves
                .iter()
                .map(|(right, column)| (*right, column.clone(), "no DID can be moved for good"))
                .collect(),
            allowed: moves.into_iter().chain([("SELECT", None)]).collect(),
            names: Some(names),
        }
    });
    let own = OwnTable::ALL.into_iter().map(|own| {
        let rights = own.rights().split(", ");
        Wanted {
            shown: own.name().to_owned(),
            schema: None,
            name: own.name().to_owned(),
            names: None,
            writes: rights.clone().map(|right| (right, None, own.purpose())).collect(),
            allowed: rights.map(|right| (right, None)).collect(),
        }
    });
    read.chain(own)
}

/// Holds what is held against what is wanted; `held` is in the order of `wanted`.
fn judge(wanted: &[Wanted], held: &[Held], call_records: bool, found: &mut Rights) {
    let is_there = |own: OwnTable| {
        let mut pairs = wanted.iter().zip(held);
        pairs.any(|(wanted, held)| wanted.names.is_none() && wanted.name == own.name() && !held.columns.is_empty())
    };
    found.writes = OwnTable::ALL.into_iter().any(is_there);
    for (wanted, held) in wanted.iter().zip(held) {
        let own = OwnTable::ALL.into_iter().find(|own| wanted.names.is_none() && own.name() == wanted.name);
        let is_used = match own {
            Some(OwnTable::Calls) => call_records,
            // Without a log changes are found by comparison, and nobody misses it.
            Some(OwnTable::Changes) => is_there(OwnTable::Changes),
            Some(_) | None => found.writes,
        };
        if let Some(names) = &wanted.names {
            found.unread.extend(unread(wanted, names, held));
            found.missing_columns.extend(missing_columns(names, &held.columns));
        }
        if is_used {
            found.unwritten.extend(unwritten(wanted, held));
        }
        found.excess.extend(excess(wanted, held));
    }
}

fn unread(wanted: &Wanted, names: &TableNames, held: &Held) -> Option<String> {
    let shown = &wanted.shown;
    if let Some(hidden) = &held.hidden {
        return Some(format!("{shown}: {hidden}"));
    }
    if held.columns.is_empty() {
        return Some(format!("SELECT on {shown}, or there is no such table"));
    }
    // A server may hide a column that the account may not read: one that has to be there counts.
    let known = columns(names.table).iter().zip(&names.columns);
    let read = known.filter(|(column, name)| column.required || is_among(&held.columns, name));
    let lacking: Vec<&str> =
        read.map(|(_, name)| name.as_str()).filter(|name| !held.may("SELECT", Some(name))).collect();
    let is_none_read = !held.single.iter().any(|(right, _)| right == "SELECT");
    match lacking.is_empty() {
        true => None,
        false if is_none_read => Some(format!("SELECT on {shown}")),
        false => Some(format!("SELECT ({}) on {shown}", lacking.join(", "))),
    }
}

fn unwritten(wanted: &Wanted, held: &Held) -> Vec<String> {
    let shown = &wanted.shown;
    if held.columns.is_empty() {
        // One of the four is told as not to be read.
        let consequence = wanted.writes.first().map_or("", |(_, _, consequence)| consequence);
        let told = format!("{shown}, which is not there, or not shown to this account: {consequence}");
        return if wanted.names.is_none() { vec![told] } else { Vec::new() };
    }
    let lacking = wanted.writes.iter().filter(|(right, column, _)| !held.may(right, column.as_deref()));
    lacking
        .map(|(right, column, consequence)| match column {
            Some(column) => format!("{right} ({column}) on {shown}: {consequence}"),
            None => format!("{right} on {shown}: {consequence}"),
        })
        .collect()
}

fn excess(wanted: &Wanted, held: &Held) -> Option<String> {
    let is_allowed = |right: &str, column: Option<&str>| {
        wanted.allowed.iter().any(|(allowed, of)| {
            *allowed == right
                && match (of, column) {
                    (None, _) => true,
                    (Some(of), Some(column)) => of.eq_ignore_ascii_case(column),
                    (Some(_), None) => false,
                }
        })
    };
    let beyond = held.given.iter().filter(|(right, column)| !is_allowed(right, column.as_deref()));
    let told: Vec<String> = beyond
        .map(|(right, column)| column.as_ref().map_or_else(|| right.clone(), |column| format!("{right} ({column})")))
        .collect();
    (!told.is_empty()).then(|| format!("{} on {}", told.join(", "), wanted.shown))
}

/// The optional columns of a table that is there.
fn missing_columns(names: &TableNames, present: &[String]) -> Vec<MissingColumn> {
    let known = columns(names.table).iter().zip(&names.columns);
    let missing = known.filter(|(column, name)| !present.is_empty() && !column.required && !is_among(present, name));
    missing
        .map(|(Column { name, .. }, _)| MissingColumn { table: names.shown(), column: name, without: without(name) })
        .collect()
}

/// What does not work without an optional column.
fn without(column: &str) -> &'static str {
    match column {
        "is_default" => "no organisation has a default caller ID, and shows its lowest number",
        "call_limit" => "no DID has a limit of calls of its own",
        "provider" => "no trunk is chosen by its `providers`",
        "trunk_id" => "no trunk is chosen by its `trunk_ids`",
        "outbound_did" => "no user has a caller ID of their own",
        _ => "it reads as NULL",
    }
}

fn is_among(names: &[String], wanted: &str) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case(wanted))
}

impl Held {
    /// Whether it holds a privilege to a column, or to the whole.
    fn may(&self, wanted: &str, of: Option<&str>) -> bool {
        self.whole.iter().any(|right| right == wanted || right == "ALL PRIVILEGES")
            || of.is_some_and(|of| {
                self.single.iter().any(|(right, column)| right == wanted && column.eq_ignore_ascii_case(of))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Wanted> {
        let settings = Settings::new("mysql://switchyard@127.0.0.1/pbx", directory::Policy::default());
        wanted(&settings).collect()
    }

    /// What `deploy/sql` and `db migrate` give.
    fn least(wanted: &Wanted) -> Held {
        let own = |(right, column): &(&str, Option<String>)| ((*right).to_owned(), column.clone());
        let given: Vec<(String, Option<String>)> = wanted.allowed.iter().map(own).collect();
        Held {
            columns: wanted.names.as_ref().map_or_else(|| vec!["id".to_owned()], |names| names.columns.clone()),
            whole: given.iter().filter(|(_, column)| column.is_none()).map(|(right, _)| right.clone()).collect(),
            single: given.iter().filter_map(|(right, column)| Some((right.clone(), column.clone()?))).collect(),
            given,
            hidden: None,
        }
    }

    fn judged(adjust: impl Fn(&str, &mut Held)) -> Rights {
        let all = all();
        let adjusted = |wanted: &Wanted| {
            let mut held = least(wanted);
            adjust(&wanted.name, &mut held);
            held
        };
        let held: Vec<Held> = all.iter().map(adjusted).collect();
        let mut found = Rights::default();
        judge(&all, &held, true, &mut found);
        found
    }

    #[test]
    fn what_the_page_gives_is_enough_and_no_more() {
        assert_eq!(judged(|_, _| {}), Rights { writes: true, ..Rights::default() });
    }

    #[test]
    fn without_tables_of_our_own_nothing_need_be_written_but_what_is_configured() {
        let found = judged(|name, held| {
            if name.starts_with("switchyard_") {
                *held = Held::default();
            }
            held.given.retain(|(right, _)| right == "SELECT");
            held.single.clear();
        });
        let calls = "switchyard_calls, which is not there, or not shown to this account: no record of a call reaches \
                     the database";
        assert_eq!(found, Rights { unwritten: vec![calls.to_owned()], ..Rights::default() });
    }

    #[test]
    fn what_is_lacking_is_named_with_what_fails() {
        let found = judged(|name, held| match name {
            "users" => held.whole.clear(),
            "organizations" => {
                held.whole.clear();
                held.single = held.columns.iter().skip(1).map(|name| ("SELECT".to_owned(), name.clone())).collect();
            }
            "sip_trunks" => *held = Held::default(),
            "did_numbers" => held.single.clear(),
            "switchyard_leases" => held.whole.retain(|right| right != "INSERT"),
            _ => {}
        });
        assert_eq!(
            found.unread,
            ["SELECT (id) on organizations", "SELECT on users", "SELECT on sip_trunks, or there is no such table"]
        );
        assert_eq!(
            found.unwritten,
            [
                "UPDATE (routing_environment) on did_numbers: no DID can be moved for good",
                "INSERT on switchyard_leases: no lease can be made"
            ]
        );
    }

    #[test]
    fn what_is_more_than_enough_is_named() {
        let found = judged(|name, held| match name {
            "did_numbers" => {
                held.given.extend([("UPDATE".to_owned(), Some("number".to_owned())), ("DELETE".to_owned(), None)]);
            }
            "users" => held.given.push(("UPDATE".to_owned(), None)),
            _ => {}
        });
        assert_eq!(found.excess, ["UPDATE (number), DELETE on did_numbers", "UPDATE on users"]);
    }

    #[test]
    fn a_missing_optional_column_is_named_with_what_does_not_work() {
        let found = judged(|_, held| held.columns.retain(|name| !["is_default", "outbound_did"].contains(&&**name)));
        let told: Vec<String> = found
            .missing_columns
            .iter()
            .map(|missing| format!("{}.{}: {}", missing.table, missing.column, missing.without))
            .collect();
        assert_eq!(
            told,
            [
                "did_numbers.is_default: no organisation has a default caller ID, and shows its lowest number",
                "users.outbound_did: no user has a caller ID of their own"
            ]
        );
        assert_eq!(found.unread, Vec::<String>::new());
        // Each optional column has words of its own.
        for column in TABLES.into_iter().flat_map(columns).filter(|column| !column.required) {
            assert_ne!(without(column.name), without("nothing such"), "{}", column.name);
        }
    }
}
