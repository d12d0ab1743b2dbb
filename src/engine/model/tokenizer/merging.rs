//! Neighbours joined pair by pair, the best pair of the whole text first: what both kinds of tokenizers do.
//!
//! A queue has every pair that can be joined. Joining changes two pairs; what the queue still has of them is recognised by
//! its length and dropped, so that n symbols cost O(n log n).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

const NONE: u32 = u32::MAX;

/// A stretch of the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Symbol {
    pub(super) start: u32,
    /// Zero where it was joined to the one before.
    pub(super) bytes: u32,
    /// What it stands for; a number that no token has, where it stands for none.
    pub(super) token: u32,
    previous: u32,
    next: u32,
}

/// What two neighbours become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Joined {
    /// The least is joined first.
    pub(super) rank: u32,
    pub(super) token: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: u32,
    /// Of two of the same rank the leftmost is first.
    left: u32,
    bytes: u32,
    token: u32,
}

impl Candidate {
    /// The two symbols, where they are still what they were.
    #[inline]
    fn pair(&self, symbols: &[Symbol]) -> Option<(Symbol, Symbol)> {
        let left = *symbols.get(self.left as usize)?;
        let right = *symbols.get(left.next as usize)?;
        // A symbol only grows or goes: with the same length these are the same two.
        (left.bytes > 0 && left.bytes + right.bytes == self.bytes).then_some((left, right))
    }
}

/// What encoding a text needs from word to word, kept for its memory.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) merging: Merging,
    /// The word as the vocabulary writes it.
    pub(super) text: String,
}

/// Symbols, and the pairs of them.
#[derive(Debug, Default)]
pub(super) struct Merging {
    symbols: Vec<Symbol>,
    queue: BinaryHeap<Reverse<Candidate>>,
}

impl Merging {
    /// Forgets all, and makes room for `symbols` of them: 36 bytes each, and no more while they are joined.
    pub(super) fn start(&mut self, symbols: usize) {
        if self.symbols.capacity() < symbols {
            // Gone before there is more: never both.
            *self = Merging::default();
        }
        self.symbols.clear();
        self.queue.clear();
        self.symbols.reserve_exact(symbols);
        self.queue.reserve_exact(symbols);
    }

    /// Adds the next symbol, of `bytes` bytes.
    pub(super) fn push(&mut self, bytes: u32, token: Option<u32>) {
        let number = self.symbols.len() as u32;
        let mut start = 0;
        if let Some(last) = self.symbols.last_mut() {
            last.next = number;
            start = last.start + last.bytes;
        }
        self.symbols.push(Symbol {
            start,
            bytes,
            token: token.unwrap_or(NONE),
            previous: number.checked_sub(1).unwrap_or(NONE),
            next: NONE,
        });
    }

    fn symbol(&self, number: u32) -> Option<Symbol> {
        self.symbols.get(number as usize).copied()
    }

    #[cold]
    fn forget_pairs_that_are_gone(&mut self) {
        let symbols = &self.symbols;
        self.queue
            .retain(|Reverse(candidate)| candidate.pair(symbols).is_some());
    }

    fn consider(&mut self, left: u32, join: &impl Fn(&Symbol, &Symbol) -> Option<Joined>) {
        let Some(first) = self.symbol(left) else {
            return;
        };
        let Some(second) = self.symbol(first.next) else {
            return;
        };
        if let Some(joined) = join(&first, &second) {
            if self.queue.len() == self.queue.capacity() {
                // There are fewer pairs than symbols: those that are gone make room, each time for twice as many.
                self.forget_pairs_that_are_gone();
            }
            self.queue.push(Reverse(Candidate {
                rank: joined.rank,
                left,
                bytes: first.bytes + second.bytes,
                token: joined.token,
            }));
        }
    }

    /// Joins until `join` knows no more pair; returns the symbols that are left.
    pub(super) fn run(
        &mut self,
        join: impl Fn(&Symbol, &Symbol) -> Option<Joined>,
    ) -> impl Iterator<Item = &Symbol> {
        for left in 0..self.symbols.len() as u32 {
            self.consider(left, &join);
        }
        while let Some(Reverse(candidate)) = self.queue.pop() {
            let Some((left, right)) = candidate.pair(&self.symbols) else {
                continue;
            };
            if let Some(gone) = self.symbols.get_mut(left.next as usize) {
                gone.bytes = 0;
            }
            if let Some(after) = self.symbols.get_mut(right.next as usize) {
                after.previous = candidate.left;
            }
            if let Some(left) = self.symbols.get_mut(candidate.left as usize) {
                left.bytes = candidate.bytes;
                left.token = candidate.token;
                left.next = right.next;
            }
            self.consider(left.previous, &join);
            self.consider(candidate.left, &join);
        }
        self.symbols.iter().filter(|symbol| symbol.bytes > 0)
    }
}
