//! Rows by chance, clean and dirty, for the tests of several modules.

use proptest::prelude::*;
use sip::Number;

use crate::rows::text;
use crate::{Cell, DidRow, Environment, OrganisationRow, Rows, TrunkRow, UserRow};

pub(crate) const ORG_A: &str = "0000000a-0000-4000-8000-a1b2c3d40000";
pub(crate) const ORG_B: &str = "0000000b-0000-4000-8000-b2c3d4e50000";

pub(crate) fn number(spelling: &str) -> Number {
    sip::Numbering::default().canonical(spelling.as_bytes()).unwrap()
}

pub(crate) fn id(last: u32) -> String {
    format!("00000d1d-0000-4000-8000-{last:012}")
}

pub(crate) fn did(last: u32, spelling: &str, environment: Environment) -> DidRow {
    DidRow::assigned(&id(last), ORG_A, spelling, environment)
}

/// Cells that hold what columns hold, and what they should not.
pub(crate) fn cell() -> impl Strategy<Value = Cell> {
    let words = [
        "",
        "active",
        "inactive",
        "assigned",
        "available",
        "prod",
        "staging",
        "oss",
        "PROD",
        "lab",
        "0",
        "1",
        "-1",
        "t",
        "2026-05-16 10:00:00",
        "99999999999",
        ORG_A,
        ORG_B,
        "udp",
        "5060",
        "{}",
        r#"{"concurrent_calls":1}"#,
        "1001",
    ];
    prop_oneof![
        4 => proptest::sample::select(words.to_vec()).prop_map(text),
        2 => (8000_u32..8006, 0_usize..5).prop_map(|(last, form)| text(&spelled(last, form))),
        1 => (0_u32..6).prop_map(|last| text(&id(last))),
        1 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Some),
        1 => Just(None),
    ]
}

pub(crate) fn spelled(last: u32, form: usize) -> String {
    let forms =
        [format!("+91806597{last}"), format!("91806597{last}"), format!("0806597{last}"), format!("806597{last}")];
    forms.get(form).cloned().unwrap_or_else(|| format!("+91 (80) 6597-{last}"))
}

prop_compose! {
    pub(crate) fn did_row()(
        clean in (0_u32..6, 8000_u32..8006, 0_usize..5, 0_usize..3),
        dirty in proptest::array::uniform10(proptest::option::weighted(0.2, cell())),
    ) -> DidRow {
        let (last_id, last, form, environment) = clean;
        let mut row = did(last_id, &spelled(last, form), Environment::ALL[environment]);
        for (place, dirt) in row.cells_mut().into_iter().zip(dirty) {
            if let Some(dirt) = dirt {
                *place = dirt;
            }
        }
        row
    }
}

prop_compose! {
    pub(crate) fn user_row()(
        last in 0_u32..6,
        is_a in any::<bool>(),
        dirty in proptest::array::uniform8(proptest::option::weighted(0.2, cell())),
    ) -> UserRow {
        let mut row = UserRow::active(&id(last), if is_a { ORG_A } else { ORG_B }, "1001", "org_1001");
        for (place, dirt) in row.cells_mut().into_iter().zip(dirty) {
            if let Some(dirt) = dirt {
                *place = dirt;
            }
        }
        row
    }
}

prop_compose! {
    pub(crate) fn organisation_row()(
        is_a in any::<bool>(),
        dirty in proptest::array::uniform6(proptest::option::weighted(0.1, cell())),
    ) -> OrganisationRow {
        let mut row = OrganisationRow::active(if is_a { ORG_A } else { ORG_B }, "name", "org_");
        for (place, dirt) in row.cells_mut().into_iter().zip(dirty) {
            if let Some(dirt) = dirt {
                *place = dirt;
            }
        }
        row
    }
}

prop_compose! {
    pub(crate) fn trunk_row()(cells in proptest::array::uniform8(cell())) -> TrunkRow {
        let mut row = TrunkRow::default();
        for (place, cell) in row.cells_mut().into_iter().zip(cells) {
            *place = cell;
        }
        row
    }
}

prop_compose! {
    pub(crate) fn any_rows()(
        dids in proptest::collection::vec(did_row(), 0..12),
        users in proptest::collection::vec(user_row(), 0..8),
        organisations in proptest::collection::vec(organisation_row(), 0..3),
        trunks in proptest::collection::vec(trunk_row(), 0..3),
    ) -> Rows {
        Rows { dids, users, organisations, trunks }
    }
}

/// Every row of one table has an id of its own, as a primary key has it.
pub(crate) fn with_own_ids(mut rows: Rows) -> Rows {
    let mut seen = std::collections::HashSet::new();
    rows.dids.retain(|row| seen.insert(("did", row.id.as_ref().map(|id| id.to_ascii_lowercase()))));
    rows.users.retain(|row| seen.insert(("user", row.id.as_ref().map(|id| id.to_ascii_lowercase()))));
    rows.organisations.retain(|row| seen.insert(("organisation", row.id.as_ref().map(|id| id.to_ascii_lowercase()))));
    rows.trunks.retain(|row| seen.insert(("trunk", row.id.as_ref().map(|id| id.to_ascii_lowercase()))));
    rows
}
