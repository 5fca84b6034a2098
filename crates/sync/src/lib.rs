//! How the directory stays true: SQL in, numbered directories out.
