//! The word most like another one.

/// The candidate most like `word`, if one is near enough to be meant: at most a quarter of the longer word
/// differs, or two characters. Of equals the first in alphabetical order.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = candidates.into_iter().filter_map(|candidate| {
        let longer = word.chars().count().max(candidate.chars().count());
        let distance = distance(word, candidate);
        (distance <= (longer / 4).max(2) && distance < longer).then_some((distance, candidate))
    });
    near.min().map(|(_, candidate)| candidate)
}

/// How many insertions, deletions, replacements and swaps of neighbours lead from one word to the other, no
/// part being changed twice ("optimal string alignment").
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_swaps_as_one() {
        for (a, b, expected) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("form", "from", 1), ("é", "e", 1)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn only_what_is_near_is_suggested() {
        let names = ["orders_total", "order_errors_total", "up"];
        assert_eq!(nearest("order_total", names), Some("orders_total"));
        assert_eq!(nearest("positions_current", names), None);
        assert_eq!(nearest("ip", names), Some("up"));
        assert_eq!(nearest("xy", names), None);
        assert_eq!(nearest("ab", ["ac", "aa"]), Some("aa"));
    }
}
