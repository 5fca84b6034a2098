//! MariaDB's side: what `SHOW GRANTS` tells. It shows those of roles that are in force too, which no table of its catalogue
//! shows to an account without rights of an administrator's.

use super::{Held, Rights, Wanted};
use crate::fault::SyncFault;
use crate::source::{Dialect, Engine};

/// One line of `SHOW GRANTS`.
#[derive(PartialEq, Eq, Debug)]
struct Grant {
    /// Each with its columns; none for the whole.
    rights: Vec<(String, Vec<String>)>,
    place: Place,
    /// Whether they may be given to others.
    is_passed_on: bool,
    /// Whether every account has them.
    is_everybodys: bool,
}

/// Where a grant holds.
#[derive(PartialEq, Eq, Debug)]
enum Place {
    Everywhere,
    /// In every schema whose name is like this.
    Schema(String),
    Table(String, String),
    /// A procedure, a function, another account.
    Other(String),
}

/// What the account may do with each table. What it may do elsewhere is noted as more than it needs.
pub(super) async fn held(engine: &mut Engine, all: &[Wanted], found: &mut Rights) -> Result<Vec<Held>, SyncFault> {
    let mut here = String::new();
    let who = "SELECT CURRENT_USER(), DATABASE()".to_owned();
    let take = |record: &mut crate::source::Record| (found.account, here) = (record.text(0), record.text(1));
    engine.rows("the account", who, take).await?;
    let mut grants = Vec::new();
    let shown = |record: &mut crate::source::Record| grants.extend(Grant::read(&record.text(0)));
    engine.rows("the account's rights", "SHOW GRANTS".to_owned(), shown).await?;
    let mut tables = Vec::new();
    for wanted in all {
        let mut held = of_table(&grants, wanted, &here);
        let statement = Dialect::MariaDb.columns_of_table(wanted.schema.as_deref(), &wanted.name);
        engine.rows(&wanted.shown, statement, |record| held.columns.push(record.text(0))).await?;
        tables.push(held);
    }
    let is_wanted = |schema: &str, name: &str| all.iter().any(|wanted| wanted.is(schema, name, &here));
    // What everybody may do elsewhere, as in the database `test` of a fresh server, is no matter of this account.
    let matters = |grant: &&Grant| !grant.is_everybodys || all.iter().any(|wanted| grant.place.covers(wanted, &here));
    found.excess.extend(grants.iter().filter(matters).filter_map(|grant| grant.beyond(is_wanted)));
    Ok(tables)
}

fn of_table(grants: &[Grant], wanted: &Wanted, here: &str) -> Held {
    let mut held = Held::default();
    for grant in grants.iter().filter(|grant| grant.place.covers(wanted, here)) {
        let is_for_it = matches!(grant.place, Place::Table(..));
        for (right, columns) in &grant.rights {
            if columns.is_empty() {
                held.whole.push(right.clone());
            }
            held.single.extend(columns.iter().map(|column| (right.clone(), column.clone())));
            if is_for_it && right != "USAGE" {
                let given = columns.iter().map(|column| (right.clone(), Some(column.clone())));
                held.given.extend(given);
                held.given.extend(columns.is_empty().then(|| (right.clone(), None)));
            }
        }
    }
    held
}

impl Wanted {
    fn is(&self, schema: &str, name: &str, here: &str) -> bool {
        self.schema.as_deref().unwrap_or(here).eq_ignore_ascii_case(schema) && self.name.eq_ignore_ascii_case(name)
    }
}

impl Place {
    fn covers(&self, wanted: &Wanted, here: &str) -> bool {
        match self {
            Place::Everywhere => true,
            Place::Schema(pattern) => is_like(pattern, wanted.schema.as_deref().unwrap_or(here)),
            Place::Table(schema, name) => wanted.is(schema, name, here),
            Place::Other(_) => false,
        }
    }
}

impl Grant {
    /// `GRANT SELECT, UPDATE (`a`) ON `schema`.`table` TO ...`. `None` for a role that is granted: what it may do has lines of
    /// its own.
    fn read(line: &str) -> Option<Grant> {
        let rest = line.strip_prefix("GRANT ")?;
        let on = outside(rest, " ON ")?;
        let (rights, rest) = (rest.get(..on)?, rest.get(on + " ON ".len()..)?);
        let to = outside(rest, " TO ")?;
        let (place, rest) = (rest.get(..to)?, rest.get(to..)?);
        let rights = parts(rights, ',').into_iter().map(right).collect();
        let is_everybodys = rest.split_whitespace().nth(1) == Some("PUBLIC");
        let is_passed_on = rest.contains(" WITH GRANT OPTION");
        Some(Grant { rights, place: Place::read(place), is_passed_on, is_everybodys })
    }

    /// What of it nothing of ours needs, where that is not seen at a table that is wanted.
    fn beyond(&self, is_wanted: impl Fn(&str, &str) -> bool) -> Option<String> {
        let place = match &self.place {
            Place::Everywhere => "every database".to_owned(),
            Place::Schema(pattern) => format!("all of {}", pattern.replace('\\', "")),
            Place::Table(schema, name) if is_wanted(schema, name) => {
                return self.is_passed_on.then(|| format!("GRANT OPTION on {schema}.{name}"));
            }
            Place::Table(schema, name) => format!("{schema}.{name}"),
            Place::Other(text) => text.clone(),
        };
        let rights = self.rights.iter().map(|(right, _)| right.as_str()).filter(|right| *right != "USAGE");
        let rights: Vec<&str> = rights.chain(self.is_passed_on.then_some("GRANT OPTION")).collect();
        (!rights.is_empty()).then(|| format!("{} on {place}", rights.join(", ")))
    }
}

impl Place {
    fn read(text: &str) -> Place {
        let names: Vec<&str> = parts(text, '.');
        match names.as_slice() {
            ["*", "*"] => Place::Everywhere,
            [schema, "*"] => Place::Schema(unquoted(schema)),
            // `PROCEDURE `schema`.`name``, and the like.
            [schema, name] if outside(schema, " ").is_none() => Place::Table(unquoted(schema), unquoted(name)),
            _ => Place::Other(text.to_owned()),
        }
    }
}

/// One right with its columns: `UPDATE (`a`, `b`)`.
fn right(text: &str) -> (String, Vec<String>) {
    let (name, columns) = text.split_once('(').unwrap_or((text, ""));
    let columns = columns.trim_end().trim_end_matches(')');
    let columns = parts(columns, ',').into_iter().map(unquoted).filter(|name| !name.is_empty());
    let name = name.trim();
    (if name == "ALL" { "ALL PRIVILEGES" } else { name }.to_owned(), columns.collect())
}

/// The pieces of a text between a letter that stands outside quotes and brackets.
fn parts(text: &str, between: char) -> Vec<&str> {
    let (mut found, mut rest) = (Vec::new(), text);
    let mut letter = [0; 4];
    let between: &str = between.encode_utf8(&mut letter);
    while let Some((part, after)) = outside(rest, between).and_then(|at| Some((rest.get(..at)?, rest.get(at + 1..)?))) {
        found.push(part.trim());
        rest = after;
    }
    found.push(rest.trim());
    found
}

/// Where a word first stands outside quotes and brackets.
fn outside(text: &str, word: &str) -> Option<usize> {
    let (mut quote, mut depth) = (None, 0_u32);
    for (at, letter) in text.char_indices() {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (Some(_), _) => {}
            (None, _) if depth == 0 && text.get(at..).is_some_and(|rest| rest.starts_with(word)) => return Some(at),
            (None, '`' | '"' | '\'') => quote = Some(letter),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
    }
    None
}

/// An identifier without the quotes around it.
fn unquoted(name: &str) -> String {
    let name = name.trim();
    ['`', '"']
        .into_iter()
        .find_map(|quote| {
            let inner = name.strip_prefix(quote)?.strip_suffix(quote)?;
            Some(inner.replace(&format!("{quote}{quote}"), &quote.to_string()))
        })
        .unwrap_or_else(|| name.to_owned())
}

/// SQL's LIKE, as names of databases in grants are meant: `%` is any text, `_` any letter, `\` takes the meaning away.
fn is_like(pattern: &str, text: &str) -> bool {
    let mut letters = pattern.chars();
    match letters.next() {
        None => text.is_empty(),
        Some('%') => {
            let rest = letters.as_str();
            let mut ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            ends.any(|at| text.get(at..).is_some_and(|text| is_like(rest, text)))
        }
        Some(letter) => {
            let is_any = letter == '_';
            let meant = if letter == '\\' { letters.next().unwrap_or(letter) } else { letter };
            let mut found = text.chars();
            found.next().is_some_and(|found| is_any || found.eq_ignore_ascii_case(&meant))
                && is_like(letters.as_str(), found.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn grant(line: &str) -> Grant {
        Grant::read(line).unwrap_or_else(|| panic!("{line} was not understood"))
    }

    fn whole(right: &str) -> (String, Vec<String>) {
        (right.to_owned(), Vec::new())
    }

    #[test]
    fn the_lines_of_a_server_are_understood() {
        let usage = grant("GRANT USAGE ON *.* TO `switchyard`@`127.0.0.1` IDENTIFIED BY PASSWORD '*6691 ON x TO y'");
        assert_eq!((usage.rights, usage.place), (vec![whole("USAGE")], Place::Everywhere));
        assert!(!usage.is_passed_on && !usage.is_everybodys);
        assert!(grant("GRANT SELECT ON `test\\_%`.* TO PUBLIC").is_everybodys);
        let columns = grant("GRANT SELECT, UPDATE (`a`, `b,``c`) ON `pbx`.`did.numbers` TO `s`@`h` WITH GRANT OPTION");
        assert_eq!(columns.rights, [whole("SELECT"), ("UPDATE".to_owned(), vec!["a".to_owned(), "b,`c".to_owned()])]);
        assert_eq!(columns.place, Place::Table("pbx".to_owned(), "did.numbers".to_owned()));
        assert!(columns.is_passed_on);
        assert_eq!(grant("GRANT SELECT, SHOW VIEW ON `pbx\\_api`.* TO `s`@`h`").rights[1], whole("SHOW VIEW"));
        assert_eq!(grant("GRANT SELECT ON `pbx\\_api`.* TO `s`@`h`").place, Place::Schema("pbx\\_api".to_owned()));
        for other in ["PROCEDURE `pbx`.`clean up`", "''@'%'"] {
            assert_eq!(grant(&format!("GRANT PROXY ON {other} TO `s`@`h`")).place, Place::Other(other.to_owned()));
        }
        assert_eq!(Grant::read("GRANT `reader ON x` TO `s`@`h`"), None);
        assert_eq!(Grant::read("SET DEFAULT ROLE `reader` FOR `s`@`h`"), None);
    }

    #[test]
    fn a_pattern_of_databases_is_one() {
        for (pattern, text, is) in [
            ("pbx", "pbx", true),
            ("pbx\\_api", "pbx_api", true),
            ("pbx\\_api", "pbxXapi", false),
            ("pbx_api", "pbxXapi", true),
            ("p%", "pbx", true),
            ("p%i", "pbx_api", true),
            ("%", "", true),
            ("pbx", "pbx2", false),
        ] {
            assert_eq!(is_like(pattern, text), is, "{pattern} {text}");
        }
    }

    #[test]
    fn rights_of_every_level_count_and_those_beyond_are_named() {
        let settings = Settings::new("mysql://s@127.0.0.1/pbx", directory::Policy::default());
        let all: Vec<Wanted> = super::super::wanted(&settings).collect();
        let dids = all.iter().find(|wanted| wanted.name == "did_numbers").unwrap();
        let of = |line: &str| of_table(&[grant(line)], dids, "pbx");
        for line in ["ALL PRIVILEGES ON *.*", "SELECT ON `p%`.*", "SELECT ON `pbx`.`did_numbers`"] {
            assert!(of(&format!("GRANT {line} TO `s`@`h`")).may("SELECT", None), "{line}");
        }
        for line in
            ["USAGE ON *.*", "SELECT ON `other`.*", "SELECT ON `pbx`.`users`", "SELECT (`id`) ON `pbx`.`did_numbers`"]
        {
            assert!(!of(&format!("GRANT {line} TO `s`@`h`")).may("SELECT", Some("number")), "{line}");
        }
        let is_wanted = |schema: &str, name: &str| all.iter().any(|wanted| wanted.is(schema, name, "pbx"));
        for (line, beyond) in [
            ("USAGE ON *.*", None),
            ("SELECT ON `pbx`.`users`", None),
            ("ALL PRIVILEGES ON *.*", Some("ALL PRIVILEGES on every database")),
            ("SELECT, SUPER ON *.*", Some("SELECT, SUPER on every database")),
            ("SELECT ON `pbx`.*", Some("SELECT on all of pbx")),
            ("SELECT ON `pbx`.`invoices`", Some("SELECT on pbx.invoices")),
            ("EXECUTE ON PROCEDURE `pbx`.`clean`", Some("EXECUTE on PROCEDURE `pbx`.`clean`")),
        ] {
            assert_eq!(grant(&format!("GRANT {line} TO `s`@`h`")).beyond(is_wanted).as_deref(), beyond, "{line}");
        }
        let passed_on = grant("GRANT SELECT ON `pbx`.`users` TO `s`@`h` WITH GRANT OPTION");
        assert_eq!(passed_on.beyond(is_wanted).as_deref(), Some("GRANT OPTION on pbx.users"));
    }
}
