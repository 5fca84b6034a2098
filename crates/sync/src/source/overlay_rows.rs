//! Rows of our own tables become overlays.

use directory::{Environment, Lease, Overlays, Panic, Policy, Subject, Tester};
use sip::Number;

use super::dialect::Dialect;
use super::record::Record;
use crate::fault::SyncFault;
use crate::own_tables::OwnTable;

/// Overlays in the making. A row that cannot be read has no effect, and is told in the log.
pub(crate) struct OverlayRows<'p> {
    policy: &'p Policy,
    overlays: Overlays,
    bad_rows: u32,
}

impl<'p> OverlayRows<'p> {
    pub(crate) fn new(policy: &'p Policy) -> OverlayRows<'p> {
        OverlayRows { policy, overlays: Overlays::default(), bad_rows: 0 }
    }

    /// Selects the rows that are in effect at a time.
    pub(crate) fn statement(table: OwnTable, dialect: Dialect, now_ms: u64) -> String {
        let columns: &[&str] = match table {
            OwnTable::Leases => &["number", "environment", "ends_at_ms"],
            OwnTable::Testers => &["caller", "number", "org_id", "environment", "ends_at_ms"],
            OwnTable::Panic | OwnTable::Calls | OwnTable::Audit | OwnTable::Changes => &["ends_at_ms"],
        };
        let text = |column: &&str| match dialect {
            Dialect::Postgres => format!("{column}::text"),
            Dialect::MariaDb | Dialect::Sqlite => (*column).to_owned(),
        };
        let columns: Vec<String> = columns.iter().map(text).collect();
        let (columns, table) = (columns.join(", "), table.name());
        format!(
            "SELECT {columns} FROM {table} WHERE ended_at_ms IS NULL AND (ends_at_ms IS NULL OR ends_at_ms > {now_ms})"
        )
    }

    /// Takes a row of one of the tables.
    pub(crate) fn row(&mut self, table: OwnTable, record: &Record) {
        let is_read = match table {
            OwnTable::Leases => self.lease(record).map(|lease| self.overlays.leases.push(lease)),
            OwnTable::Testers => self.tester(record).map(|tester| self.overlays.testers.push(tester)),
            OwnTable::Panic => self.panic(record),
            OwnTable::Calls | OwnTable::Audit | OwnTable::Changes => None,
        };
        self.bad_rows += u32::from(is_read.is_none());
    }

    /// The overlays; a fault when there are more than a directory takes.
    pub(crate) fn finish(self) -> Result<Overlays, SyncFault> {
        if self.bad_rows > 0 {
            tracing::warn!(rows = self.bad_rows, "leases, testers or panics could not be read, and have no effect");
        }
        let too_many = |found: directory::TooManyOverlays| SyncFault::TooMany { detail: found.to_string() };
        self.overlays.check().map_err(too_many)?;
        Ok(self.overlays)
    }

    fn lease(&self, record: &Record) -> Option<Lease> {
        let [number, environment, ends_at_ms] = [0, 1, 2].map(|place| record.cell(place));
        Some(Lease {
            number: self.number(number?)?,
            environment: environment_of(environment?)?,
            ends_at_ms: milliseconds(ends_at_ms?)?,
        })
    }

    fn tester(&self, record: &Record) -> Option<Tester> {
        let [caller, number, organisation, environment, ends_at_ms] = [0, 1, 2, 3, 4].map(|place| record.cell(place));
        let subject = match (number, organisation) {
            (Some(number), None) => Subject::Did(self.number(number)?),
            (None, Some(organisation)) => Subject::Organisation(std::str::from_utf8(organisation).ok()?.to_owned()),
            _ => return None,
        };
        Some(Tester {
            caller: self.number(caller?)?,
            subject,
            environment: environment_of(environment?)?,
            ends_at_ms: milliseconds(ends_at_ms?)?,
        })
    }

    /// Of several panics the one that lasts longest counts.
    fn panic(&mut self, record: &Record) -> Option<()> {
        let ends_at_ms = match record.cell(0) {
            Some(bytes) => Some(milliseconds(bytes)?),
            None => None,
        };
        let longest = match self.overlays.panic {
            Some(Panic { ends_at_ms: other }) => other.and_then(|other| ends_at_ms.map(|ends| ends.max(other))),
            None => ends_at_ms,
        };
        self.overlays.panic = Some(Panic { ends_at_ms: longest });
        Some(())
    }

    fn number(&self, bytes: &[u8]) -> Option<Number> {
        self.policy.numbering.canonical(bytes).ok()
    }
}

fn environment_of(bytes: &[u8]) -> Option<Environment> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

fn milliseconds(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(cells: &[Option<&str>]) -> Record {
        let mut record = Record::default();
        for (place, cell) in cells.iter().enumerate() {
            record.set(place, cell.map(str::as_bytes));
        }
        record
    }

    #[test]
    fn a_row_that_cannot_be_read_has_no_effect() {
        let policy = Policy::default();
        let mut rows = OverlayRows::new(&policy);
        rows.row(OwnTable::Leases, &record(&[Some("918065978021"), Some("staging"), Some("1000")]));
        rows.row(OwnTable::Leases, &record(&[Some("918065978021"), Some("lab"), Some("1000")]));
        rows.row(OwnTable::Leases, &record(&[Some("918065978021"), Some("oss"), None]));
        rows.row(OwnTable::Testers, &record(&[Some("+447700900001"), None, Some("a"), Some("oss"), Some("9")]));
        rows.row(OwnTable::Testers, &record(&[Some("+447700900001"), None, None, Some("oss"), Some("9")]));
        rows.row(OwnTable::Panic, &record(&[Some("soon")]));
        assert_eq!(rows.bad_rows, 4);
        let overlays = rows.finish().unwrap();
        assert_eq!((overlays.leases.len(), overlays.testers.len(), overlays.panic), (1, 1, None));
    }

    #[test]
    fn of_several_panics_the_longest_counts() {
        let policy = Policy::default();
        let ends = |rows: &[Option<&str>]| {
            let mut overlays = OverlayRows::new(&policy);
            rows.iter().for_each(|row| overlays.row(OwnTable::Panic, &record(&[*row])));
            overlays.finish().unwrap().panic.map(|panic| panic.ends_at_ms)
        };
        assert_eq!(ends(&[Some("5"), Some("9"), Some("7")]), Some(Some(9)));
        assert_eq!(ends(&[Some("5"), None, Some("7")]), Some(None));
        assert_eq!(ends(&[]), None);
    }
}
