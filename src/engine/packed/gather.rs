//! Pages put together from pieces of other files, with a window of them read ahead.

use super::layout::Copy;
use super::pack::window_pages;
use crate::engine::{Batch, Engine, Field};
use crate::error::Result;
use std::collections::VecDeque;
use std::iter::Peekable;

/// Pieces of one page that are read ahead; a page of many small tensors reads the others when its turn comes.
const AHEAD_PIECES: usize = 16;

/// What goes into one page.
struct Page {
    number: u64,
    copies: Vec<Copy>,
    batch: Batch,
}

/// See the module.
pub(super) struct Gatherer<I: Iterator<Item = Copy>> {
    fields: Vec<Field>,
    copies: Peekable<I>,
    page_bytes: u64,
    window: VecDeque<Page>,
    spare: Vec<Batch>,
    /// Pieces that are read ahead, and how many may be.
    ahead: usize,
    ahead_max: usize,
}

impl<I: Iterator<Item = Copy>> Gatherer<I> {
    /// Gathers `copies`, which come in the order of where they go and lie in one page each.
    pub(super) fn new(
        engine: &Engine,
        fields: Vec<Field>,
        copies: I,
        page_bytes: u64,
    ) -> Result<Gatherer<I>> {
        let window = window_pages(page_bytes);
        let spare = (0..window).map(|_| engine.batch(AHEAD_PIECES));
        // A piece lies in two pages at most: a quarter of the pool.
        let ahead_max = engine.core.pool.frame_count() as usize / 8;
        Ok(Gatherer {
            fields,
            copies: copies.peekable(),
            page_bytes,
            window: VecDeque::with_capacity(window),
            spare: spare.collect::<Result<_>>()?,
            ahead: 0,
            ahead_max: ahead_max.max(1),
        })
    }

    /// Asks for as many pages as there are batches and room for, and for one at least.
    fn read_ahead(&mut self) -> Result<()> {
        while let Some(&first) = self.copies.peek()
            && (self.ahead < self.ahead_max || self.window.is_empty())
        {
            let Some(mut batch) = self.spare.pop() else {
                return Ok(());
            };
            let number = first.to / self.page_bytes;
            let mut copies = Vec::new();
            while let Some(copy) = self
                .copies
                .next_if(|copy| copy.to / self.page_bytes == number)
            {
                if copies.len() < AHEAD_PIECES && batch.pending() < self.ahead_max {
                    let field = &self.fields[copy.file as usize];
                    batch.submit(field, copy.from..copy.from + copy.len, 0)?;
                }
                copies.push(copy);
            }
            batch.flush();
            self.ahead += batch.pending();
            self.window.push_back(Page {
                number,
                copies,
                batch,
            });
        }
        Ok(())
    }

    /// Fills page `number`; pages are asked for in their order. What no piece goes to is zero.
    pub(super) fn fill(&mut self, number: u64, into: &mut [u8]) -> Result<()> {
        self.read_ahead()?;
        if self.window.front().is_none_or(|page| page.number != number) {
            into.fill(0);
            return Ok(());
        }
        let Some(mut page) = self.window.pop_front() else {
            return Ok(());
        };
        let asked = page.batch.pending();
        page.batch.wait(asked);
        self.ahead -= asked;
        let mut done = 0;
        for (k, copy) in page.copies.iter().enumerate() {
            let at = (copy.to % self.page_bytes) as usize;
            into[done..at].fill(0);
            done = at + copy.len as usize;
            let into = &mut into[at..done];
            let there = match k < asked {
                true => page.batch.view(k).ok().map(|view| view.copy_to(into)),
                false => None,
            };
            if there.is_none() {
                // It was not asked for, or there was no room: now what others hold ahead may go.
                for later in &mut self.window {
                    self.ahead -= later.batch.pending();
                    later.batch.clear();
                }
                let field = &self.fields[copy.file as usize];
                field.read(copy.from..copy.from + copy.len)?.copy_to(into);
            }
        }
        into[done..].fill(0);
        page.batch.clear();
        self.spare.push(page.batch);
        Ok(())
    }
}
