//! The dashboard for Grafana is what `cargo xtask dashboard` writes.

use super::Finding;
use crate::dashboard;
use crate::tree::Tree;

/// The file as it would be written, and as it is.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    if tree.text(dashboard::PATH) == Some(&*dashboard::text()) {
        return Vec::new();
    }
    vec![Finding::new(
        dashboard::PATH,
        0,
        "is not what `cargo xtask dashboard` writes: change xtask/src/dashboard.rs, and run it",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tree;

    #[test]
    fn another_file_is_found() {
        assert_eq!(check(&tree(&[])).len(), 1);
        assert_eq!(check(&tree(&[(dashboard::PATH, "{}")])).len(), 1);
        assert_eq!(check(&tree(&[(dashboard::PATH, &dashboard::text())])), []);
    }
}
