//! What callers and the submission loop of one device share.

use crate::ring::fault::Fault;
use crate::ring::file::OpenFile;
use crate::ring::lane::{Chain, Lane, LaneStack, Slots};
use crate::ring::telemetry::{Counters, Histogram, LaneTimes};
use crate::ring::wake::WakeWord;
use crate::sync::{AtomicU32, Mutex, Ordering, lock};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

/// A message to the loop that is neither a read nor a write.
pub(crate) enum Control {
    AddFile {
        index: u32,
        file: Arc<OpenFile>,
        /// Gets the errno where the backend refused the file.
        reply: SyncSender<Result<(), i32>>,
    },
    /// No request for the file will follow.
    RemoveFile { index: u32 },
    /// Drop the prefetches of a plan that are not issued yet.
    Cancel { epoch: u32 },
    /// Stop; reads in flight are waited for as long as the loop's configuration says.
    Stop,
    /// Fail as a bug in the loop would.
    #[cfg(any(test, feature = "sim"))]
    Panic,
}

#[derive(Debug, Default)]
struct FileIndexes {
    free: Vec<u32>,
    next: u32,
}

/// See the module.
pub(crate) struct Shared {
    pub(crate) slots: Arc<Slots>,
    demand: LaneStack,
    prefetch: LaneStack,
    pub(crate) promoted: LaneStack,
    controls: Mutex<VecDeque<Control>>,
    controls_waiting: AtomicU32,
    files: Mutex<FileIndexes>,
    pub(crate) wake: WakeWord,
    /// Slots pushed and not reported yet.
    pub(crate) outstanding: AtomicU32,
    /// Callers that read by themselves at this moment.
    inline_readers: AtomicU32,
    /// Callers and tasks that wait for one read each.
    impatient: AtomicU32,
    /// Results that a batch waits for before it is woken; 0 or 1 where each counts.
    batch_want: AtomicU32,
    pub(crate) counters: Counters,
    demand_times: LaneTimes,
    prefetch_times: LaneTimes,
    /// Time that comparing a page with its checksum took.
    pub(crate) verify_ns: Histogram,
    /// Errno of the last failure of the backend itself; 0 = none.
    backend_error: AtomicU32,
}

impl Shared {
    pub(crate) fn new(slots: Arc<Slots>) -> Shared {
        Shared {
            slots,
            demand: LaneStack::new(false),
            prefetch: LaneStack::new(false),
            promoted: LaneStack::new(true),
            controls: Mutex::new(VecDeque::new()),
            controls_waiting: AtomicU32::new(0),
            files: Mutex::new(FileIndexes::default()),
            wake: WakeWord::new(),
            outstanding: AtomicU32::new(0),
            inline_readers: AtomicU32::new(0),
            impatient: AtomicU32::new(0),
            batch_want: AtomicU32::new(0),
            counters: Counters::default(),
            demand_times: LaneTimes::new(),
            prefetch_times: LaneTimes::new(),
            verify_ns: Histogram::new(),
            backend_error: AtomicU32::new(0),
        }
    }

    pub(crate) fn lane(&self, lane: Lane) -> &LaneStack {
        match lane {
            Lane::Demand => &self.demand,
            Lane::Prefetch => &self.prefetch,
        }
    }

    pub(crate) fn times(&self, lane: Lane) -> &LaneTimes {
        match lane {
            Lane::Demand => &self.demand_times,
            Lane::Prefetch => &self.prefetch_times,
        }
    }

    /// True where the loop would find something to take.
    pub(crate) fn has_work(&self) -> bool {
        !(self.demand.is_empty() && self.prefetch.is_empty() && self.promoted.is_empty())
            || self.controls_waiting.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn take_controls(&self) -> VecDeque<Control> {
        if self.controls_waiting.load(Ordering::Acquire) == 0 {
            return VecDeque::new();
        }
        let mut controls = lock(&self.controls);
        self.controls_waiting.store(0, Ordering::Relaxed);
        std::mem::take(&mut *controls)
    }

    /// Publishes requests and wakes the loop if it sleeps.
    pub(crate) fn submit(&self, lane: Lane, chain: &Chain) {
        if chain.is_empty() {
            return;
        }
        self.outstanding.fetch_add(chain.count(), Ordering::Relaxed);
        self.lane(lane).push(&self.slots, chain);
        self.wake_loop();
    }

    /// Moves a prefetch that somebody now waits for to the demand lane, if it still can be.
    pub(crate) fn promote(&self, index: u32) {
        if self.slots.get(index).want() {
            self.promoted.push_one(&self.slots, index);
            self.wake_loop();
        }
    }

    pub(crate) fn control(&self, control: Control) {
        let mut controls = lock(&self.controls);
        controls.push_back(control);
        self.controls_waiting.store(1, Ordering::Release);
        drop(controls);
        self.wake_loop();
    }

    fn wake_loop(&self) {
        if self.wake.wake() {
            self.counters
                .wakeups
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// A free index in the loop's file table.
    pub(crate) fn reserve_file(&self) -> u32 {
        let mut files = lock(&self.files);
        files.free.pop().unwrap_or_else(|| {
            files.next += 1;
            files.next - 1
        })
    }

    pub(crate) fn release_file(&self, index: u32) {
        lock(&self.files).free.push(index);
    }

    /// Lets a caller read by itself where the device is idle and few others do so; [`Shared::end_inline`] must follow.
    pub(crate) fn begin_inline(&self, readers_max: u32) -> bool {
        if self.outstanding.load(Ordering::Relaxed) != 0 {
            return false;
        }
        if self.inline_readers.fetch_add(1, Ordering::Relaxed) < readers_max {
            return true;
        }
        self.end_inline();
        false
    }

    pub(crate) fn end_inline(&self) {
        self.inline_readers.fetch_sub(1, Ordering::Relaxed);
    }

    /// Somebody waits for a single read: the loop delivers each completion at once until [`Shared::end_wait`].
    pub(crate) fn begin_wait(&self) {
        self.impatient.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end_wait(&self) {
        self.impatient.fetch_sub(1, Ordering::Relaxed);
    }

    /// A batch will not look before `results` are there.
    pub(crate) fn set_batch_want(&self, results: u32) {
        self.batch_want.store(results, Ordering::Relaxed);
    }

    /// What a batch waits for; `None` where somebody waits for a single read.
    pub(crate) fn batch_want(&self) -> Option<u32> {
        (self.impatient.load(Ordering::Relaxed) == 0)
            .then(|| self.batch_want.load(Ordering::Relaxed))
    }

    pub(crate) fn note_backend_error(&self, error: &io::Error) {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        self.backend_error.store(errno as u32, Ordering::Relaxed);
    }

    /// The last failure of the backend itself, if any.
    pub(crate) fn backend_error(&self) -> Option<Fault> {
        match self.backend_error.load(Ordering::Relaxed) {
            0 => None,
            errno => Some(Fault::Os(errno as i32)),
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::Shared;
    use crate::ring::lane::{Chain, Lane, Request, Slots};
    use loom::sync::Arc as LoomArc;
    use std::sync::Arc;

    /// What the loop does with what it takes, in its order: prefetches, then promotions.
    fn take(shared: &Shared, queue: &mut Option<Lane>) {
        shared.lane(Lane::Prefetch).take(&shared.slots, |index| {
            let wanted = shared.slots.get(index).is_wanted();
            *queue = Some(if wanted { Lane::Demand } else { Lane::Prefetch });
        });
        shared.promoted.take(&shared.slots, |index| {
            if *queue == Some(Lane::Prefetch) {
                *queue = Some(Lane::Demand);
            }
            shared.slots.get(index).promotion_taken();
        });
    }

    /// A reader can find a prefetch at any time after its frame is in the table: before its slot is linked, before it is
    /// pushed, before and after the loop takes it.
    #[test]
    fn loom_a_prefetch_that_a_reader_joins_is_promoted_whenever_it_comes() {
        loom::model(|| {
            let shared = LoomArc::new(Shared::new(Arc::new(Slots::new(1))));
            let prefetcher = {
                let shared = shared.clone();
                loom::thread::spawn(move || {
                    let mut chain = Chain::new();
                    let request = Request {
                        file: 0,
                        offset: 0,
                        bytes: 1,
                        expected: 1,
                        lane: Lane::Prefetch,
                        queued_ns: 0,
                        epoch: 0,
                        checked: false,
                        write: false,
                    };
                    shared.slots.link(0, request, &mut chain);
                    shared.submit(Lane::Prefetch, &chain);
                })
            };
            let reader = {
                let shared = shared.clone();
                loom::thread::spawn(move || shared.promote(0))
            };
            let mut queue = None;
            take(&shared, &mut queue);
            prefetcher.join().ok();
            reader.join().ok();
            take(&shared, &mut queue);
            assert_eq!(queue, Some(Lane::Demand));
        });
    }
}
