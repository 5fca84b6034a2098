//! Which number is whose, as a value: the immutable numbered table, its lookups and its build from rows.
