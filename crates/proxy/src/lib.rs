//! What we do with a message: the sans-I/O core from datagram to outbox.
