//! Tokens that are found in a text before anything else: user-defined ones always, control tokens where the caller says so.
//!
//! The longest token in the whole text is taken first, wherever it is, then the next: what llama.cpp does with one search
//! of the text for each of thousands of tokens is here one pass that finds all places, and a queue of them.

use super::memory::room;
use super::vocabulary::{Kind, Vocabulary};
use crate::error::Result;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

const NONE: u32 = u32::MAX;

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'t> {
    Text(&'t str),
    Token(u32),
}

/// The special tokens of a vocabulary.
pub(super) struct Specials {
    /// Ordered by the bytes of their pieces.
    tokens: Vec<u32>,
    /// For each of `tokens` the longest other one that it begins with: an index into `tokens`.
    shorter: Vec<u32>,
    /// Where in `tokens` those that begin with a byte begin; those of the last byte end at the end.
    starts: Vec<u32>,
}

/// Where a special token, an index into [`Specials::tokens`], is written in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    len: u32,
    /// Among places of one length the first is the greatest.
    at: Reverse<u32>,
    special: u32,
}

impl Specials {
    pub(super) fn of(vocabulary: &Vocabulary) -> Result<Specials> {
        let is_special = |&token: &u32| {
            let kind = vocabulary.kind(token);
            let kinds = [Kind::Control, Kind::UserDefined, Kind::Unknown];
            let written = vocabulary
                .piece(token)
                .is_some_and(|piece| !piece.is_empty());
            written && kind.is_some_and(|kind| kinds.contains(&kind))
        };
        let specials = (0..vocabulary.len()).filter(is_special);
        let mut tokens: Vec<u32> = room(specials.clone().count(), "special tokens")?;
        tokens.extend(specials);
        let piece = |token: u32| vocabulary.piece(token).unwrap_or_default().as_bytes();
        tokens.sort_unstable_by_key(|&token| piece(token));

        // In this order the pieces that one begins with are the last before it that begin each other.
        let mut open: Vec<(u32, &[u8])> = Vec::new();
        let mut shorter = room(tokens.len(), "special tokens")?;
        for (index, &token) in tokens.iter().enumerate() {
            while open
                .pop_if(|(_, prefix)| !piece(token).starts_with(prefix))
                .is_some()
            {}
            shorter.push(open.last().map_or(NONE, |&(prefix, _)| prefix));
            open.push((index as u32, piece(token)));
        }
        let before = |byte: u8| tokens.partition_point(|&token| piece(token).first() < Some(&byte));
        let starts = (0..=u8::MAX).map(|byte| before(byte) as u32).collect();
        Ok(Specials {
            tokens,
            shorter,
            starts,
        })
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let words = self.tokens.capacity() + self.shorter.capacity() + self.starts.capacity();
        (words * size_of::<u32>()) as u64
    }

    /// The special tokens that begin with `byte`: a range of `tokens`.
    fn beginning_with(&self, byte: u8) -> (usize, usize) {
        let start = |byte: usize| self.starts.get(byte).map(|&start| start as usize);
        let byte = usize::from(byte);
        let end = start(byte + 1).unwrap_or(self.tokens.len());
        (start(byte).unwrap_or(end), end)
    }

    /// The longest special token at the beginning of `text`.
    fn longest(&self, vocabulary: &Vocabulary, text: &[u8]) -> Option<u32> {
        let (mut low, mut high) = self.beginning_with(*text.first()?);
        let mut longest = None;
        for (depth, byte) in text.iter().enumerate() {
            let within = self.tokens.get(low..high)?;
            let at_depth = |token: &u32| {
                vocabulary
                    .piece(*token)
                    .and_then(|piece| piece.as_bytes().get(depth))
            };
            if depth > 0 {
                high = low + within.partition_point(|token| at_depth(token) <= Some(byte));
                low += within.partition_point(|token| at_depth(token) < Some(byte));
            }
            let Some(first) = self.tokens.get(low..high).and_then(<[u32]>::first) else {
                break;
            };
            // A piece that ends here is before all that go on.
            if vocabulary
                .piece(*first)
                .is_some_and(|piece| piece.len() == depth + 1)
            {
                longest = Some(low as u32);
            }
        }
        longest
    }

    /// `special`, or the longest that it begins with, that may be taken: without `control` only a user-defined one.
    fn allowed(&self, vocabulary: &Vocabulary, mut special: u32, control: bool) -> Option<u32> {
        loop {
            let &token = self.tokens.get(special as usize)?;
            if control || vocabulary.kind(token) == Some(Kind::UserDefined) {
                return Some(special);
            }
            special = self.shorter(special)?;
        }
    }

    fn shorter(&self, special: u32) -> Option<u32> {
        self.shorter
            .get(special as usize)
            .copied()
            .filter(|&special| special != NONE)
    }

    fn piece_bytes(&self, vocabulary: &Vocabulary, special: u32) -> Option<u32> {
        let &token = self.tokens.get(special as usize)?;
        vocabulary.piece(token).map(|piece| piece.len() as u32)
    }

    /// The place of the longest allowed token at `at` in `text`.
    fn place(
        &self,
        vocabulary: &Vocabulary,
        text: &[u8],
        at: usize,
        control: bool,
    ) -> Option<Place> {
        let special = self.longest(vocabulary, text.get(at..)?)?;
        let special = self.allowed(vocabulary, special, control)?;
        Some(Place {
            len: self.piece_bytes(vocabulary, special)?,
            at: Reverse(at as u32),
            special,
        })
    }

    /// Cuts `text`, shorter than 4 GiB, into special tokens and what is between them.
    pub(super) fn split<'t>(
        &self,
        vocabulary: &Vocabulary,
        text: &'t str,
        control: bool,
        mut part: impl FnMut(Part<'t>),
    ) {
        let bytes = text.as_bytes();
        let mut done = 0;
        let mut at = 0;
        while let Some(ahead) = bytes.get(at..) {
            let begins = |&byte: &u8| {
                let (start, end) = self.beginning_with(byte);
                start < end
            };
            let Some(skipped) = ahead.iter().position(begins) else {
                break;
            };
            at += skipped;
            let Some(first) = self.place(vocabulary, bytes, at, control) else {
                at += 1;
                continue;
            };
            // All that overlap, directly or by others between them, are decided together.
            let start = at;
            let mut end = at + first.len as usize;
            let mut places = vec![first];
            at += 1;
            while at < end {
                if let Some(place) = self.place(vocabulary, bytes, at, control) {
                    end = end.max(at + place.len as usize);
                    places.push(place);
                }
                at += 1;
            }
            for place in self.choose(vocabulary, places, start..end, control) {
                let Reverse(place_at) = place.at;
                if let Some(between) = text.get(done..place_at as usize)
                    && !between.is_empty()
                {
                    part(Part::Text(between));
                }
                if let Some(&token) = self.tokens.get(place.special as usize) {
                    part(Part::Token(token));
                }
                done = place_at as usize + place.len as usize;
            }
        }
        if let Some(rest) = text.get(done..)
            && !rest.is_empty()
        {
            part(Part::Text(rest));
        }
    }

    /// Of places that overlap within `span`, those that are taken, in the order of the text.
    fn choose(
        &self,
        vocabulary: &Vocabulary,
        places: Vec<Place>,
        span: std::ops::Range<usize>,
        control: bool,
    ) -> Vec<Place> {
        if places.len() == 1 {
            return places;
        }
        let mut taken = vec![false; span.len()];
        let mut chosen = Vec::new();
        let mut queue = BinaryHeap::from(places);
        while let Some(place) = queue.pop() {
            let Reverse(at) = place.at;
            let start = at as usize - span.start;
            let end = start + place.len as usize;
            // What is taken is no shorter: it covers an end of whatever it overlaps.
            let is_taken = |at: usize| taken.get(at).copied().unwrap_or(true);
            if is_taken(start) {
                continue;
            }
            if is_taken(end - 1) {
                let shorter = self.shorter(place.special);
                let shorter =
                    shorter.and_then(|special| self.allowed(vocabulary, special, control));
                if let Some(special) = shorter
                    && let Some(len) = self.piece_bytes(vocabulary, special)
                {
                    let at = place.at;
                    queue.push(Place { len, at, special });
                }
                continue;
            }
            if let Some(place) = taken.get_mut(start..end) {
                place.fill(true);
            }
            chosen.push(place);
        }
        chosen.sort_unstable_by_key(|place| place.at.0);
        chosen
    }
}
