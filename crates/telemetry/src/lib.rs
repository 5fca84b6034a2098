//! What is measured and kept: counters fed by the core's events.
