//! An order in which experts that fire together are neighbours.
//!
//! A greedy chain: it begins with the expert that fired most often, and goes on with the one that fired most often
//! together with the last, of equal ones with the one that fired more. Those that never fired come last, by their
//! numbers. For E experts it takes E² steps, and the best order of all would take many more: it is the path through all
//! experts that is longest, a travelling salesman's problem.

use super::log::Firings;

/// All of `experts` in their order.
pub(super) fn chain(experts: usize, fired: &Firings) -> Vec<u32> {
    let together = fired.matrix(experts);
    let count = |a: usize, b: usize| together.get(a * experts + b).copied().unwrap_or(0);
    let mut left: Vec<usize> = (0..experts).filter(|&e| count(e, e) > 0).collect();
    let never = (0..experts).filter(|&e| count(e, e) == 0);
    let mut order = Vec::with_capacity(experts);
    let mut last = None;
    while !left.is_empty() {
        let with_last = |e: usize| last.map_or(0, |last| count(last, e));
        // The first of equal ones: `max_by_key` takes the last, and so goes backwards.
        let next = (0..left.len()).rev().max_by_key(|&at| {
            let expert = left.get(at).copied().unwrap_or(0);
            (with_last(expert), count(expert, expert))
        });
        let expert = left.remove(next.unwrap_or(0));
        order.push(expert as u32);
        last = Some(expert);
    }
    order.extend(never.map(|expert| expert as u32));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(groups: &[&[u32]]) -> Firings {
        let mut fired = Firings::default();
        for group in groups {
            (1..=group.len()).for_each(|n| fired.join(&group[..n]));
        }
        fired
    }

    #[test]
    fn experts_that_fire_together_are_neighbours_and_the_others_come_last() {
        let groups: [&[u32]; 7] = [
            &[0, 4],
            &[0, 4],
            &[4, 2],
            &[1, 5],
            &[1, 5],
            &[5, 1],
            &[4, 0],
        ];
        // 4 fired four times: with 0 thrice, with 2 once. Then 1 and 5; 3 never.
        assert_eq!(chain(7, &fired(&groups)), [4, 0, 1, 5, 2, 3, 6]);
    }

    #[test]
    fn of_equal_experts_the_first_goes_first() {
        assert_eq!(chain(4, &fired(&[&[2, 1], &[3, 0]])), [0, 3, 1, 2]);
        assert_eq!(chain(3, &Firings::default()), [0, 1, 2]);
    }

    #[test]
    fn every_expert_has_one_place_in_random_logs() {
        let mut state = 1;
        let mut draw = |below: u64| {
            state = crate::content::splitmix64(state);
            (state % below) as u32
        };
        for experts in [1_u64, 2, 9, 64] {
            let mut all = Firings::default();
            for _ in 0..50 {
                let mut group: Vec<u32> = (0..4).map(|_| draw(experts)).collect();
                group.sort_unstable();
                group.dedup();
                (1..=group.len()).for_each(|n| all.join(&group[..n]));
            }
            let mut order = chain(experts as usize, &all);
            order.sort_unstable();
            assert!(order.into_iter().eq(0..experts as u32));
        }
    }
}
