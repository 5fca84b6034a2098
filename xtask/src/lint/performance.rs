//! The table of docs/explanation/performance.md is what `cargo xtask bench --against` wrote, word for word.

use super::Finding;
use crate::tree::Tree;

const PAGE: &str = "docs/explanation/performance.md";
const RESULTS: &str = "benches/results/against.md";
/// As `benches/measure/table.rs` has them.
const BEGIN: &str = "<!-- written by cargo xtask bench --against -->";
const END: &str = "<!-- end of what was written -->";

/// The part between the markers, and the results.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let part = tree.text(PAGE).and_then(|page| Some(page.split_once(BEGIN)?.1.split_once(END)?.0.trim()));
    let Some(part) = part.filter(|part| part.contains("\n| ")) else {
        return vec![Finding::new(PAGE, 0, format!("has no table between {BEGIN} and {END}"))];
    };
    if tree.text(RESULTS).is_some_and(|results| results.contains(part)) {
        return Vec::new();
    }
    let what = format!("its table is not that of {RESULTS}: cargo xtask bench --against kamailio,relay writes both");
    vec![Finding::new(PAGE, 0, what)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tree;

    #[test]
    fn a_table_by_hand_is_found() {
        let page = format!("# Performance\n\n{BEGIN}\n\n3 rounds.\n\n| a | b |\n| 1 | 2 |\n\n{END}\n");
        let results = "# Side by side\n\n3 rounds.\n\n| a | b |\n| 1 | 2 |\n\n![bars](against.svg)\n";
        assert_eq!(check(&tree(&[(PAGE, &page), (RESULTS, results)])), []);
        let better = page.replace("| 1 | 2 |", "| 1 | 9 |");
        assert_eq!(check(&tree(&[(PAGE, &better), (RESULTS, results)])).len(), 1);
        assert_eq!(check(&tree(&[(PAGE, &page)])).len(), 1);
        assert_eq!(check(&tree(&[(PAGE, "# Performance\n"), (RESULTS, results)])).len(), 1);
        assert_eq!(check(&tree(&[(PAGE, &format!("{BEGIN}\n\n{END}")), (RESULTS, results)])).len(), 1);
    }
}
