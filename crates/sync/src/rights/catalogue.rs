//! PostgreSQL's side: its catalogue answers what an account may do, by whichever way it came to it.

use super::{Held, Rights, Wanted};
use crate::fault::SyncFault;
use crate::source::{Dialect, Engine};

/// Attributes of a role, each with what it is called.
const ATTRIBUTES: [(&str, &str); 5] = [
    ("rolsuper", "superuser, who may do everything"),
    ("rolcreaterole", "CREATEROLE"),
    ("rolcreatedb", "CREATEDB"),
    ("rolreplication", "REPLICATION"),
    ("rolbypassrls", "BYPASSRLS"),
];

/// What the account may do with each table. What it may do as a whole is noted as more than it needs.
pub(super) async fn held(engine: &mut Engine, all: &[Wanted], found: &mut Rights) -> Result<Vec<Held>, SyncFault> {
    let is_super = account(engine, found).await?;
    let mut tables = Vec::new();
    for wanted in all {
        let mut held = Held::default();
        engine.rows(&wanted.shown, of_table(wanted), |record| held = read(|place| record.text(place))).await?;
        if is_super {
            // It is said once, and not for each table.
            held.given.clear();
        }
        tables.push(held);
    }
    Ok(tables)
}

/// Who it is, and its powers over more than tables. True for a superuser.
async fn account(engine: &mut Engine, found: &mut Rights) -> Result<bool, SyncFault> {
    let attributes = ATTRIBUTES.map(|(column, _)| format!("{column}::int::text")).join(", ");
    let statement = format!("SELECT rolname::text, {attributes} FROM pg_roles WHERE rolname = current_user");
    let mut is_super = false;
    let mut powers = Vec::new();
    let take = |record: &mut crate::source::Record| {
        found.account = record.text(0);
        let held = ATTRIBUTES.iter().enumerate().filter(|(place, _)| record.text(place + 1) == "1");
        powers.extend(held.map(|(_, (_, told))| (*told).to_owned()));
        is_super = record.text(1) == "1";
    };
    engine.rows("the account", statement, take).await?;
    if is_super {
        powers.truncate(1);
    } else {
        let statement = "SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'pg\\_%' AND pg_has_role(oid, 'USAGE')";
        let member = |record: &mut crate::source::Record| powers.push(format!("member of {}", record.text(0)));
        engine.rows("the account's roles", statement.to_owned(), member).await?;
    }
    found.excess.extend(powers);
    Ok(is_super)
}

/// The statement that asks of one table, as the account finds it: schema, whether it may be used, whether the table is
/// the account's own, whether rows are kept from it, privileges, columns, privileges to columns.
fn of_table(wanted: &Wanted) -> String {
    let literal = |name: &str| Dialect::Postgres.literal(name.as_bytes());
    // The path that names without a schema are looked for in. What the account may not use is in it all the same.
    let path = "string_to_array(replace(replace(replace(current_setting('search_path'), '\"', ''), ' ', ''), \
                '$user', current_user), ',')";
    let place = match &wanted.schema {
        Some(schema) => format!("n.nspname = {}", literal(schema)),
        None => format!("n.nspname::text = ANY({path})"),
    };
    let columns = "FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped";
    format!(
        "SELECT n.nspname::text, has_schema_privilege(n.oid, 'USAGE')::int::text, \
         pg_has_role(c.relowner, 'USAGE')::int::text, row_security_active(c.oid)::int::text, \
         (SELECT string_agg(p, chr(10)) FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', \
         'REFERENCES', 'TRIGGER']) AS p WHERE has_table_privilege(c.oid, p)), \
         (SELECT string_agg(a.attname::text, chr(10)) {columns}), \
         (SELECT string_agg(p || ' ' || a.attname::text, chr(10)) FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', \
         'REFERENCES']) AS p CROSS JOIN LATERAL (SELECT a.attnum, a.attname {columns}) AS a \
         WHERE has_column_privilege(c.oid, a.attnum, p)) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname = {} AND {place} \
         ORDER BY has_schema_privilege(n.oid, 'USAGE') DESC, array_position({path}, n.nspname::text) LIMIT 1",
        literal(&wanted.name)
    )
}

fn read(cell: impl Fn(usize) -> String) -> Held {
    let list = |place| cell(place).lines().map(str::to_owned).collect::<Vec<_>>();
    let (whole, columns) = (list(4), list(5));
    let pairs = list(6).into_iter().filter_map(|pair| {
        let (right, column) = pair.split_once(' ')?;
        Some((right.to_owned(), column.to_owned()))
    });
    let single: Vec<(String, String)> = pairs.collect();
    // What holds for the whole shows at each column, too.
    let of_columns = single.iter().filter(|(right, _)| !whole.contains(right));
    let of_columns = of_columns.map(|(right, column)| (right.clone(), Some(column.clone())));
    let given = match cell(2) == "1" {
        true => vec![("the owner's rights".to_owned(), None)],
        false => whole.iter().map(|right| (right.clone(), None)).chain(of_columns).collect(),
    };
    let hidden = match (cell(1) == "1", cell(3) == "1") {
        (false, _) => Some(format!("USAGE on schema {}", cell(0))),
        (true, true) => Some("row security is on, which may keep rows from this account".to_owned()),
        (true, false) => None,
    };
    Held { columns, whole, single, given, hidden }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_the_catalogue_is_read() {
        let row = |usage: &'static str, owner: &'static str, secured: &'static str| {
            read(move |place| {
                let cells = [
                    "public",
                    usage,
                    owner,
                    secured,
                    "SELECT",
                    "id\nnumber",
                    "SELECT id\nSELECT number\nUPDATE number",
                ];
                cells[place].to_owned()
            })
        };
        let plain = row("1", "0", "0");
        assert!(plain.may("SELECT", None) && plain.may("UPDATE", Some("number")) && !plain.may("UPDATE", None));
        assert_eq!(plain.given, [("SELECT".to_owned(), None), ("UPDATE".to_owned(), Some("number".to_owned()))]);
        assert_eq!((plain.columns.len(), plain.hidden), (2, None));
        assert_eq!(row("1", "1", "0").given, [("the owner's rights".to_owned(), None)]);
        assert_eq!(row("0", "0", "0").hidden.unwrap(), "USAGE on schema public");
        assert!(row("1", "0", "1").hidden.unwrap().starts_with("row security is on"));
    }
}
