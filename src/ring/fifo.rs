//! The loop's two queues: doubly linked lists over the slots, so that a promoted slot leaves in constant time.

use crate::ring::lane::NIL;

#[derive(Debug, Clone, Copy)]
struct Link {
    prev: u32,
    next: u32,
    /// The queue it is in; [`NIL`] for none.
    queue: u32,
}

/// The links of every slot. A slot is in at most one queue at a time.
#[derive(Debug)]
pub(crate) struct Links(Box<[Link]>);

impl Links {
    pub(crate) fn new(count: u32) -> Links {
        let alone = Link {
            prev: NIL,
            next: NIL,
            queue: NIL,
        };
        Links(vec![alone; count as usize].into_boxed_slice())
    }
}

/// A first-in-first-out queue of slots.
#[derive(Debug)]
pub(crate) struct Fifo {
    name: u32,
    head: u32,
    tail: u32,
}

impl Fifo {
    /// An empty queue; queues over the same links have different names.
    pub(crate) fn new(name: u32) -> Fifo {
        Fifo {
            name,
            head: NIL,
            tail: NIL,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head == NIL
    }

    /// True where `index` is in this queue.
    pub(crate) fn contains(&self, links: &Links, index: u32) -> bool {
        links.0[index as usize].queue == self.name
    }

    /// The oldest slot.
    pub(crate) fn front(&self) -> Option<u32> {
        (self.head != NIL).then_some(self.head)
    }

    pub(crate) fn push_back(&mut self, links: &mut Links, index: u32) {
        links.0[index as usize] = Link {
            prev: self.tail,
            next: NIL,
            queue: self.name,
        };
        match self.tail {
            NIL => self.head = index,
            tail => links.0[tail as usize].next = index,
        }
        self.tail = index;
    }

    /// Takes `index`, which is in this queue, out of it.
    pub(crate) fn remove(&mut self, links: &mut Links, index: u32) {
        let Link { prev, next, .. } = links.0[index as usize];
        links.0[index as usize].queue = NIL;
        match prev {
            NIL => self.head = next,
            prev => links.0[prev as usize].next = next,
        }
        match next {
            NIL => self.tail = prev,
            next => links.0[next as usize].prev = prev,
        }
    }

    /// The slot behind `index`.
    pub(crate) fn after(&self, links: &Links, index: u32) -> Option<u32> {
        let next = links.0[index as usize].next;
        (next != NIL).then_some(next)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Fifo, Links};

    fn order(fifo: &Fifo, links: &Links) -> Vec<u32> {
        let mut at = fifo.front();
        let mut seen = Vec::new();
        while let Some(index) = at {
            seen.push(index);
            at = fifo.after(links, index);
        }
        seen
    }

    #[test]
    fn any_slot_can_leave_and_order_stays() {
        for leaving in 0..5 {
            let (mut fifo, mut links) = (Fifo::new(0), Links::new(5));
            for index in 0..5 {
                fifo.push_back(&mut links, index);
            }
            fifo.remove(&mut links, leaving);
            let left: Vec<u32> = (0..5).filter(|&i| i != leaving).collect();
            assert_eq!(order(&fifo, &links), left);
            assert!(!fifo.contains(&links, leaving));
            fifo.push_back(&mut links, leaving);
            assert_eq!(order(&fifo, &links).len(), 5);
            assert_eq!(order(&fifo, &links).last(), Some(&leaving));
        }
    }
}
