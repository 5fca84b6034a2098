//! One DID, as a lookup finds it.

use std::fmt;
use std::ops::Deref;

use sip::Number;

use crate::did_table::{DidFields, Row};
use crate::directory::{Directory, OrganisationId};
use crate::organisation::Standing;
use crate::service::DidWords;

/// One DID: where its row is, and, once asked, what that says.
///
/// What the row's words say is in [`DidWords`], to which this dereferences: `did.environment`. A lookup waits for memory, and
/// the fewer instructions it has, the more of what comes behind it does the processor begin meanwhile; so it unpacks nothing
/// that is not asked for.
#[derive(Clone, Copy)]
pub struct Did<'d> {
    /// The number.
    pub number: Number,
    row: Row<'d>,
    directory: &'d Directory,
}

impl Directory {
    #[inline(always)]
    pub(crate) fn did_of<'d>(&'d self, number: Number, row: Row<'d>) -> Did<'d> {
        Did { number, row, directory: self }
    }
}

impl<'d> Did<'d> {
    #[inline]
    pub(crate) fn fields(&self) -> DidFields {
        self.row.fields()
    }

    /// What its row's words say.
    #[inline]
    pub fn words(&self) -> &'d DidWords {
        let fields = self.fields();
        let standing = self.directory.organisations.standing(fields.organisation);
        self.directory.services.of(fields.marks, standing == Standing::NotActive)
    }

    /// The organisation that has it; `None` also when its row names one that is unknown.
    #[inline]
    pub fn organisation(&self) -> Option<OrganisationId> {
        let organisation = self.fields().organisation;
        let standing = self.directory.organisations.standing(organisation);
        (standing != Standing::Unknown).then(|| OrganisationId(organisation.wrapping_sub(1)))
    }

    /// Calls at one time; 0 for no limit.
    #[inline]
    pub fn call_limit(&self) -> u32 {
        self.fields().call_limit
    }

    /// Who delivers it.
    #[inline]
    pub fn provider(&self) -> Option<&'d str> {
        self.directory.providers.parts_at(self.fields().provider).0
    }

    /// The trunk that it comes by, as the database calls it.
    #[inline]
    pub fn trunk_id(&self) -> Option<&'d str> {
        self.directory.providers.parts_at(self.fields().provider).1
    }

    /// All that can be asked of it.
    fn told(&self) -> impl PartialEq + fmt::Debug + use<'d> {
        (self.number, *self.words(), self.organisation(), self.call_limit(), self.provider(), self.trunk_id())
    }
}

impl Deref for Did<'_> {
    type Target = DidWords;

    #[inline]
    fn deref(&self) -> &DidWords {
        self.words()
    }
}

/// Whether all that can be asked of both is the same.
impl PartialEq for Did<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.told() == other.told()
    }
}

impl Eq for Did<'_> {}

impl fmt::Debug for Did<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Did").field(&self.told()).finish()
    }
}
