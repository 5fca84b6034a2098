//! Rows as a database gives them: every column as bytes, or NULL. Nothing is checked here.

use crate::words::Environment;

/// What stands in one column of one row: NULL, or bytes (numbers and times in their text form).
pub type Cell = Option<Vec<u8>>;

/// A column that the directory reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Column {
    /// Its name in the reference schema.
    pub name: &'static str,
    /// Whether a table without it cannot be read. A missing optional column reads as NULL.
    pub required: bool,
}

macro_rules! row {
    ($(#[$doc:meta])* $row:ident, $table:literal, { $($(#[$column_doc:meta])* $column:ident: $need:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Default, PartialEq, Eq, Debug)]
        pub struct $row { $($(#[$column_doc])* pub $column: Cell),+ }

        impl $row {
            /// The table's name in the reference schema.
            pub const TABLE: &'static str = $table;
            /// The columns read, in the order of [`Self::cells_mut`].
            pub const COLUMNS: &'static [Column] =
                &[$(Column { name: stringify!($column), required: row!(@ $need) }),+];

            /// The cells in the order of [`Self::COLUMNS`], to be filled by position.
            pub fn cells_mut(&mut self) -> [&mut Cell; row!(# $($column)+)] {
                [$(&mut self.$column),+]
            }
        }
    };
    (@ required) => { true };
    (@ optional) => { false };
    (# ) => { 0 };
    (# $head:ident $($tail:ident)*) => { 1 + row!(# $($tail)*) };
}

row! {
    /// A row of `did_numbers`.
    DidRow, "did_numbers", {
        /// Its key, a UUID as a rule.
        id: required,
        /// The organisation that has the DID.
        org_id: required,
        /// The number, in any spelling.
        number: required,
        /// active, inactive, ported, suspended.
        status: required,
        /// available, pending, assigned, reserved.
        pool_status: required,
        /// prod, staging, oss.
        routing_environment: required,
        /// Whether it is the organisation's default caller ID.
        is_default: optional,
        /// Concurrent calls allowed; 0 and NULL for no limit.
        call_limit: optional,
        /// Who delivers it.
        provider: optional,
        /// The trunk that it comes by, as the database calls it.
        trunk_id: optional,
        /// When the row was last changed, to the second.
        updated_at: required,
    }
}

row! {
    /// A row of `users`.
    UserRow, "users", {
        /// Its key, a UUID as a rule.
        id: required,
        /// The user's organisation.
        org_id: required,
        /// The login name.
        username: required,
        /// The extension, unique within the organisation.
        extension: required,
        /// The PBX's name for the user's phone.
        asterisk_endpoint: required,
        /// The DID that the user shows when calling out.
        outbound_did: optional,
        /// active, inactive.
        status: required,
        /// When the row was last changed, to the second.
        updated_at: required,
    }
}

row! {
    /// A row of `organizations`.
    OrganisationRow, "organizations", {
        /// Its key, a UUID as a rule.
        id: required,
        /// The name that people know.
        name: required,
        /// What the PBX puts before every name of this organisation.
        context_prefix: required,
        /// active, suspended, deleted.
        status: required,
        /// A JSON object; `concurrent_calls` is read.
        limits: required,
        /// When the row was last changed, to the second.
        updated_at: required,
    }
}

row! {
    /// A row of `sip_trunks`: an organisation's peering, not the carrier.
    TrunkRow, "sip_trunks", {
        /// Its key, a UUID as a rule.
        id: required,
        /// The organisation that peers.
        org_id: required,
        /// The name that people know.
        name: required,
        /// A host name or address.
        host: required,
        /// 1 to 65535.
        port: required,
        /// udp, tcp, tls.
        transport: required,
        /// active, inactive.
        status: required,
        /// When the row was last changed, to the second.
        updated_at: required,
    }
}

/// All rows of one reading, in any order.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Rows {
    /// `did_numbers`
    pub dids: Vec<DidRow>,
    /// `users`
    pub users: Vec<UserRow>,
    /// `organizations`
    pub organisations: Vec<OrganisationRow>,
    /// `sip_trunks`
    pub trunks: Vec<TrunkRow>,
}

/// A cell that holds this text.
pub fn text(text: &str) -> Cell {
    Some(text.as_bytes().to_vec())
}

impl DidRow {
    /// The row of an active, assigned DID, its other columns NULL.
    pub fn assigned(id: &str, org_id: &str, number: &str, environment: Environment) -> DidRow {
        DidRow {
            id: text(id),
            org_id: text(org_id),
            number: text(number),
            status: text("active"),
            pool_status: text("assigned"),
            routing_environment: text(environment.as_str()),
            ..DidRow::default()
        }
    }
}

impl OrganisationRow {
    /// The row of an active organisation without limits.
    pub fn active(id: &str, name: &str, context_prefix: &str) -> OrganisationRow {
        OrganisationRow {
            id: text(id),
            name: text(name),
            context_prefix: text(context_prefix),
            status: text("active"),
            ..OrganisationRow::default()
        }
    }
}

impl UserRow {
    /// The row of an active user without an `outbound_did`.
    pub fn active(id: &str, org_id: &str, extension: &str, asterisk_endpoint: &str) -> UserRow {
        UserRow {
            id: text(id),
            org_id: text(org_id),
            extension: text(extension),
            asterisk_endpoint: text(asterisk_endpoint),
            status: text("active"),
            ..UserRow::default()
        }
    }
}
