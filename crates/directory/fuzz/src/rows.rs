//! Rows: the input is cut into cells, the cells into rows of the four tables, and the rows into a first reading and
//! changes. What single changes come to is what a build from all rows comes to.

use std::collections::BTreeMap;

use directory::rows::Cell;
use directory::{
    Change, Changes, DidRow, Generation, OrganisationRow, Policy, Rows, TrunkRow, UserRow, build, snapshot,
};

/// Cells are parted by this byte; a cell of one dash is NULL, an empty one keeps what a clean row has.
const PART: u8 = b'\n';

/// Reads `data` as rows: those before an empty line, of the state at first, then the changes.
pub fn run(data: &[u8]) {
    let mut cells = data.split(|&byte| byte == PART).take(4_000);
    let mut first = Stored::default();
    for _ in 0..8 {
        first.take(&turn(&mut cells));
    }
    let policy = Policy::default();
    let directory = build(Generation(1), first.rows(), &policy, None);
    super::visit(&directory);
    let changes = turn(&mut cells);
    first.take(&changes);
    let applied = directory.apply(Generation(2), &changes);
    let built = build(Generation(2), first.rows(), &policy, Some(&directory));
    super::visit(&applied);
    assert!(applied.says_the_same(&built), "{:?}\n{:?}", applied.faults(), built.faults());
    let again = snapshot::decode(&snapshot::encode(&applied), &policy).expect("what was written can be read");
    assert!(again.says_the_same(&applied));
}

/// One change of each table.
fn turn<'c>(cells: &mut impl Iterator<Item = &'c [u8]>) -> Changes {
    let mut did = DidRow::assigned("1", "o", "08065978001", directory::Environment::Prod);
    let mut user = UserRow::active("1", "o", "1001", "o_1001");
    let mut organisation = OrganisationRow::active("o", "name", "o_");
    let mut trunk = TrunkRow::default();
    let mut fill = |row: Vec<&mut Cell>| {
        for cell in row {
            match cells.next() {
                None | Some([]) => {}
                Some(b"-") => *cell = None,
                Some(bytes) => *cell = Some(bytes.to_vec()),
            }
        }
    };
    fill(did.cells_mut().into_iter().collect());
    fill(user.cells_mut().into_iter().collect());
    fill(organisation.cells_mut().into_iter().collect());
    fill(trunk.cells_mut().into_iter().collect());
    Changes {
        dids: change(did, |row| &row.number, |row| &row.id),
        users: change(user, |row| &row.username, |row| &row.id),
        organisations: change(organisation, |row| &row.name, |row| &row.id),
        trunks: change(trunk, |row| &row.name, |row| &row.id),
    }
}

/// A row is deleted when `mark` says `gone`.
fn change<R>(row: R, mark: impl Fn(&R) -> &Cell, id: impl Fn(&R) -> &Cell) -> Vec<Change<R>> {
    match mark(&row).as_deref() {
        Some(b"gone") => vec![Change::Delete(id(&row).clone())],
        _ => vec![Change::Upsert(row)],
    }
}

/// The rows of a database, by primary key.
#[derive(Default)]
struct Stored {
    dids: BTreeMap<Cell, DidRow>,
    users: BTreeMap<Cell, UserRow>,
    organisations: BTreeMap<Cell, OrganisationRow>,
    trunks: BTreeMap<Cell, TrunkRow>,
}

impl Stored {
    fn take(&mut self, changes: &Changes) {
        store(&mut self.dids, &changes.dids, |row| &row.id);
        store(&mut self.users, &changes.users, |row| &row.id);
        store(&mut self.organisations, &changes.organisations, |row| &row.id);
        store(&mut self.trunks, &changes.trunks, |row| &row.id);
    }

    fn rows(&self) -> Rows {
        Rows {
            dids: self.dids.values().cloned().collect(),
            users: self.users.values().cloned().collect(),
            organisations: self.organisations.values().cloned().collect(),
            trunks: self.trunks.values().cloned().collect(),
        }
    }
}

fn store<R: Clone>(stored: &mut BTreeMap<Cell, R>, changes: &[Change<R>], id: impl Fn(&R) -> &Cell) {
    for change in changes {
        // A UUID is one key in either case, as the database compares it.
        let key =
            |cell: &Cell| cell.as_ref().map(|id| if id.len() == 36 { id.to_ascii_lowercase() } else { id.clone() });
        match change {
            Change::Upsert(row) => drop(stored.insert(key(id(row)), row.clone())),
            Change::Delete(cell) => drop(stored.remove(&key(cell))),
        }
    }
}
