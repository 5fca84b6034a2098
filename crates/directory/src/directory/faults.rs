//! What is wrong with the rows, as a list for people and as counts.
//!
//! A fault of one row is kept as it was found. A fault of several rows (two with one number, a user's DID that another
//! organisation has) is counted while rows come and go, and written out only when someone asks for the list.

use super::Directory;
use crate::contender::{id_text, is_in_use};
use crate::did_table::DidFields;
use crate::fault::{CellFault, Effect, Fault, Reason, RowFault, Table, shown};
use crate::limits::FAULTS_LISTED_MAX;
use crate::organisation::OrganisationRecord;
use crate::row_key::RowKey;
use crate::user::UserRecord;

/// The faults of several rows, counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    /// DIDs in use without an organisation.
    pub(crate) no_organisation: u32,
    /// DIDs that name an organisation without a good row.
    pub(crate) unknown_organisation: u32,
    /// DIDs marked as a default beside another one.
    pub(crate) two_defaults: u32,
    /// Users whose `outbound_did` another organisation has.
    pub(crate) foreign_did: u32,
    /// Users whose `outbound_did` is not in the table.
    pub(crate) unknown_did: u32,
    /// Users set aside as their organisation is unknown, kept last good values not counted.
    pub(crate) users_waiting: u32,
    /// Rows out of effect that are listed already, as they are kept last good values.
    pub(crate) losers_kept: usize,
}

impl Counts {
    /// Counts what an organisation's record says of its DIDs.
    pub(crate) fn add_organisation(&mut self, record: &OrganisationRecord) {
        match record.facts {
            Some(_) => self.two_defaults += record.defaults.saturating_sub(1),
            None => self.unknown_organisation += record.dids,
        }
    }

    /// Takes back what [`Counts::add_organisation`] counted.
    pub(crate) fn take_organisation(&mut self, record: &OrganisationRecord) {
        match record.facts {
            Some(_) => self.two_defaults -= record.defaults.saturating_sub(1),
            None => self.unknown_organisation -= record.dids,
        }
    }

    /// Counts a fault of a user's `outbound_did`, or takes it back.
    pub(crate) fn add_outbound(&mut self, fault: Option<Reason>, by: i32) {
        let count = match fault {
            Some(Reason::ForeignDid) => &mut self.foreign_did,
            Some(_) => &mut self.unknown_did,
            None => return,
        };
        *count = count.saturating_add_signed(by);
    }
}

impl Directory {
    /// What is wrong with the rows, by table, key and column: at most [`FAULTS_LISTED_MAX`].
    ///
    /// The first call writes the list, and reads the whole table if a DID has no organisation that is known.
    pub fn faults(&self) -> &[Fault] {
        self.listed.get_or_init(|| {
            let mut faults: Vec<Fault> = self.faults_of_rows().collect();
            let room = FAULTS_LISTED_MAX.saturating_sub(faults.len());
            faults.extend(self.faults_between_rows().take(room));
            faults.sort_by(|a, b| (a.table, &a.key, a.column, &a.found).cmp(&(b.table, &b.key, b.column, &b.found)));
            faults
        })
    }

    /// How many faults there are, listed or not.
    pub fn fault_count(&self) -> u64 {
        Reason::ALL.iter().map(|&reason| u64::from(self.faults_of(reason))).sum()
    }

    /// How many faults of one kind there are, listed or not.
    pub fn faults_of(&self, reason: Reason) -> u32 {
        let counts = &self.counts;
        let between_rows = match reason {
            Reason::Duplicate => {
                let losers = self.losers.len().saturating_sub(counts.losers_kept);
                u32::try_from(losers).unwrap_or(u32::MAX).saturating_add(self.users.duplicate_count())
            }
            Reason::NoOrganisation => counts.no_organisation,
            Reason::UnknownOrganisation => counts.unknown_organisation.saturating_add(counts.users_waiting),
            Reason::TwoDefaults => counts.two_defaults,
            Reason::ForeignDid => counts.foreign_did,
            Reason::UnknownDid => counts.unknown_did,
            _ => 0,
        };
        self.row_faults.count(reason).saturating_add(between_rows)
    }

    fn faults_of_rows(&self) -> impl Iterator<Item = Fault> + '_ {
        self.row_faults.iter().filter_map(|fault| {
            let text = fault.text.as_ref()?;
            Some(Fault {
                table: fault.table,
                key: text.id.to_string(),
                column: fault.column,
                found: text.found.to_string(),
                expected: text.expected.to_string(),
                reason: fault.reason,
                effect: fault.effect.unwrap_or_else(|| self.effect_of_bad_row(fault)),
            })
        })
    }

    /// What was done about a row that cannot be read.
    fn effect_of_bad_row(&self, fault: &RowFault) -> Effect {
        let is_kept = match fault.table {
            Table::Dids => match self.row(fault.key).filter(|row| row.1.fields.marks.is_kept()) {
                Some((number, row)) if self.dids.record(number) == Some(row) => true,
                Some(_) => return Effect::OtherRowInEffect,
                None => false,
            },
            Table::Users => {
                let user = self.users.row(fault.key);
                user.is_some_and(|user| user.kept_last_good && self.organisations.facts(user.organisation).is_some())
            }
            Table::Organisations => self.organisations.facts_of(fault.key).is_some_and(|facts| facts.kept_last_good),
            Table::Trunks => false,
        };
        if is_kept { Effect::LastGoodKept } else { Effect::RowAbsent }
    }

    fn faults_between_rows(&self) -> impl Iterator<Item = Fault> + '_ {
        let outbound = self.users.with_any_outbound_did().filter_map(|user| self.outbound_fault(user));
        self.conflicts()
            .chain(self.second_defaults())
            .chain(self.waiting_users())
            .chain(self.duplicate_users())
            .chain(outbound)
            .chain(self.without_organisation())
    }

    fn conflicts(&self) -> impl Iterator<Item = Fault> + '_ {
        let losers = self.losers.iter().filter(|loser| !loser.record.fields.marks.is_kept());
        losers.map(|loser| {
            let winner = self.dids.record(loser.number).map_or_else(String::new, |row| self.did_id_text(row.key));
            let expected = format!("a number of its own: row {winner} has it");
            let found = loser.number.to_string();
            let fault = CellFault { column: "number", found, expected, reason: Reason::Duplicate };
            listed(Table::Dids, loser.id_text(), fault, Effect::OtherRowInEffect)
        })
    }

    fn second_defaults(&self) -> impl Iterator<Item = Fault> + '_ {
        self.defaults.iter().filter_map(|&(place, number)| {
            let record = self.organisations.at(place).filter(|record| record.facts.is_some())?;
            let chosen = record.default_did.filter(|&chosen| chosen != number)?;
            let fault = CellFault {
                column: "is_default",
                found: format!("a default at {number}"),
                expected: format!("one default in an organisation: {chosen} is in effect"),
                reason: Reason::TwoDefaults,
            };
            let key = self.did_id_text(self.dids.record(number)?.key);
            Some(listed(Table::Dids, key, fault, Effect::ValueIgnored))
        })
    }

    fn waiting_users(&self) -> impl Iterator<Item = Fault> + '_ {
        let users = if self.counts.users_waiting == 0 { None } else { Some(self.users.rows()) };
        users.into_iter().flatten().filter_map(|user| {
            let record = self.organisations.at(user.organisation).filter(|record| record.facts.is_none())?;
            let fault = unknown_organisation(record);
            (!user.kept_last_good).then(|| listed(Table::Users, user.id_text(), fault, Effect::RowAbsent))
        })
    }

    fn duplicate_users(&self) -> impl Iterator<Item = Fault> + '_ {
        self.users.duplicates().map(|(column, user, first)| {
            let value = if column == "extension" { &user.extension } else { &user.endpoint };
            let found = shown(Some(value.as_bytes()));
            let expected = format!("a value of its own: row {} has it", first.id_text());
            let fault = CellFault { column, found, expected, reason: Reason::Duplicate };
            listed(Table::Users, user.id_text(), fault, Effect::OtherRowInEffect)
        })
    }

    fn outbound_fault(&self, user: &UserRecord) -> Option<Fault> {
        let number = user.outbound_did?;
        let reason = user.outbound_fault(self.dids.find(number))?;
        let expected = "a DID of the user's organisation".to_owned();
        let fault = CellFault { column: "outbound_did", found: number.to_string(), expected, reason };
        Some(listed(Table::Users, user.id_text(), fault, Effect::Noted))
    }

    fn without_organisation(&self) -> impl Iterator<Item = Fault> + '_ {
        let is_any = self.counts.no_organisation > 0 || self.counts.unknown_organisation > 0;
        let dids = if is_any { Some(self.dids.fields()) } else { None };
        dids.into_iter().flatten().filter_map(|(number, fields)| {
            let fault = self.organisation_fault(&fields)?;
            let key = self.did_id_text(self.dids.record(number)?.key);
            Some(listed(Table::Dids, key, fault, Effect::Noted))
        })
    }

    fn organisation_fault(&self, fields: &DidFields) -> Option<CellFault> {
        let Some(place) = fields.place() else {
            let expected = "the id of an organisation, as the DID is assigned".to_owned();
            let found = "NULL".to_owned();
            let fault = CellFault { column: "org_id", found, expected, reason: Reason::NoOrganisation };
            return is_in_use(fields, &self.policy).then_some(fault);
        };
        let record = self.organisations.at(place).filter(|record| record.facts.is_none())?;
        Some(unknown_organisation(record))
    }

    fn did_id_text(&self, key: RowKey) -> String {
        id_text(self.odd_id(key).as_deref(), key)
    }
}

fn unknown_organisation(record: &OrganisationRecord) -> CellFault {
    CellFault {
        column: "org_id",
        found: record.id_text(),
        expected: "the id of an organisation that has a good row".to_owned(),
        reason: Reason::UnknownOrganisation,
    }
}

fn listed(table: Table, key: String, fault: CellFault, effect: Effect) -> Fault {
    let CellFault { column, found, expected, reason } = fault;
    Fault { table, key, column, found, expected, reason, effect }
}
