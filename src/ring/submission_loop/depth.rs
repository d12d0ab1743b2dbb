//! How many reads to keep in flight, found by measuring where the host does not say.
//!
//! More depth first adds throughput and then only latency, which is depth over throughput (J. D. C. Little, "A proof for
//! the queuing formula L = λW", 1961). What is looked for is the least depth that gives [`ENOUGH`] of the throughput of
//! any.
//!
//! One measurement is an epoch in which the limit, and nothing else, held reads back. A sweep over powers of two finds
//! the best depth and brackets the one that is wanted. Then the middle of the bracket and the best take turns, so that
//! what changes slowly (the device's other users) does not count, and the bracket is halved, until one depth is left. The
//! loop rests there, and starts over where throughput or the size of reads has become another, or after some minutes. Time
//! with writes in flight is no measurement.

/// Depths that are tried: half a power of two apart.
const LEVELS: [u32; 16] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256];
/// Depth before anything is known: the knee of most solid-state disks.
pub(crate) const DEPTH_AT_FIRST: u32 = 32;
/// And no more bytes than these: a device of 50 GB/s that needs 300 µs is full with them, and of a large burst the first
/// reads are there, to be checked and computed on, while the last are on their way.
const BYTES_AT_FIRST: u64 = 16 << 20;
/// The greatest depth that is tried.
pub(crate) const DEPTH_FOUND_MAX: u32 = 256;
/// The share of the greatest throughput that is enough.
const ENOUGH: f64 = 0.92;
/// In the sweep, depths this far below or above that are not looked at again.
const CLEARLY: f64 = 0.06;
/// A depth of this share of the greatest throughput is as good as the best, and easier on the device.
const AS_GOOD: f64 = 0.98;
const EPOCH_NS: u64 = 20_000_000;
const EPOCH_READS: u32 = 64;
/// Of the rounds of an epoch this part must have been held back by the limit.
const LIMITED_SHARE: f64 = 0.9;
/// Passes of the sweep, and turns of a comparison: so many, or fewer where the outcome is clear.
const PASSES: u32 = 3;
const TURNS: u32 = 13;
const TURNS_MIN: u32 = 6;
const REST_NS: u64 = 300_000_000_000;
/// At rest, this many epochs in a row whose throughput or size of reads differs by more than this factor are another load.
const CHANGED_EPOCHS: u32 = 5;
const CHANGED_BY: f64 = 1.4;

/// See the module.
#[derive(Debug)]
pub(super) struct DepthControl {
    /// How many of [`LEVELS`] the device's queue allows.
    levels: usize,
    /// Index of the depth in force.
    level: usize,
    state: State,
    epoch: Epoch,
    /// The epochs of each level in this sweep, or in this comparison.
    sums: [Sum; LEVELS.len()],
    found: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Nothing is known yet.
    First,
    /// The powers of two up to level `top` in turn.
    Sweep { pass: u32, top: usize },
    /// The middle of a bracket and the best level in turns.
    Compare {
        /// No level below this one is enough.
        from: usize,
        /// This one is.
        enough: usize,
        best: usize,
        turn: u32,
    },
    /// Until a time; with what an epoch looked like, and how many in a row differed.
    Rest {
        until_ns: u64,
        seen: Option<Sum>,
        changed: u32,
    },
}

#[derive(Debug)]
struct Epoch {
    start_ns: u64,
    /// Completions of reads that were issued under the depth before.
    skip: u32,
    rounds: u32,
    limited_rounds: u32,
    sum: Sum,
}

/// What reads came to, of one epoch or of several.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    ns: u64,
    reads: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, other: Sum) {
        self.ns += other.ns;
        self.reads += other.reads;
        self.bytes += other.bytes;
    }

    /// Bytes a nanosecond.
    fn throughput(self) -> f64 {
        self.bytes as f64 / self.ns.max(1) as f64
    }

    fn read_bytes(self) -> f64 {
        self.bytes as f64 / self.reads.max(1) as f64
    }
}

impl Epoch {
    fn new(start_ns: u64, skip: u32) -> Epoch {
        Epoch {
            start_ns,
            skip,
            rounds: 0,
            limited_rounds: 0,
            sum: Sum::default(),
        }
    }
}

fn differ(a: f64, b: f64) -> bool {
    a > b * CHANGED_BY || b > a * CHANGED_BY
}

/// Index of the depth before anything is known.
fn first_level(levels: usize) -> usize {
    LEVELS[..levels].partition_point(|&depth| depth <= DEPTH_AT_FIRST) - 1
}

impl DepthControl {
    /// Looks for a depth of at most `depth_max`.
    pub(super) fn new(depth_max: u32) -> DepthControl {
        let levels = LEVELS.partition_point(|&depth| depth <= depth_max).max(1);
        DepthControl {
            levels,
            level: first_level(levels),
            state: State::First,
            epoch: Epoch::new(0, 0),
            sums: [Sum::default(); LEVELS.len()],
            found: None,
        }
    }

    /// Reads that may be in flight now.
    pub(super) fn limit(&self) -> u32 {
        LEVELS[self.level]
    }

    /// Bytes that may be in flight before another read is issued.
    pub(super) fn limit_bytes(&self) -> u64 {
        match self.state {
            State::First => BYTES_AT_FIRST,
            _ => u64::MAX,
        }
    }

    /// The depth that was found last, once one was.
    pub(super) fn found(&self) -> Option<u32> {
        self.found
    }

    /// Notes a read of the device.
    pub(super) fn completed(&mut self, bytes: u64) {
        let epoch = &mut self.epoch;
        if epoch.skip > 0 {
            epoch.skip -= 1;
            return;
        }
        epoch.sum.reads += 1;
        epoch.sum.bytes += bytes;
    }

    /// Notes a round with writes in flight: what reads come to beside them says nothing of the depth. A search is given
    /// up, so that many writes do not wait at whatever depth it was trying, and begins again behind them.
    pub(super) fn disturbed(&mut self, now_ns: u64) {
        let mut skip = self.epoch.skip;
        if matches!(self.state, State::Sweep { .. } | State::Compare { .. }) {
            let before = self.limit();
            self.level = match self.found {
                Some(depth) => LEVELS.partition_point(|&level| level < depth),
                None => first_level(self.levels),
            };
            self.state = State::First;
            skip += before;
        }
        self.epoch = Epoch::new(now_ns, skip);
    }

    /// Notes a round of the loop; `limited` where reads wait for nothing but the depth.
    pub(super) fn round(&mut self, now_ns: u64, limited: bool) {
        let before = self.limit();
        let epoch = &mut self.epoch;
        if epoch.skip > 0 || epoch.rounds == 0 {
            // The clock starts when the reads of the depth before are done.
            epoch.start_ns = now_ns;
            epoch.rounds = u32::from(epoch.skip == 0);
            epoch.limited_rounds = epoch.rounds;
            return;
        }
        epoch.rounds += 1;
        epoch.limited_rounds += u32::from(limited);
        epoch.sum.ns = now_ns.saturating_sub(epoch.start_ns);
        if epoch.sum.ns < EPOCH_NS {
            return;
        }
        let share = f64::from(epoch.limited_rounds) / f64::from(epoch.rounds);
        if share < LIMITED_SHARE {
            self.give_way(now_ns);
        } else if epoch.sum.reads >= u64::from(EPOCH_READS) {
            self.sums[self.level].add(epoch.sum);
            self.learn(now_ns);
        } else {
            return;
        }
        let skip = if self.limit() == before {
            0
        } else {
            self.limit() + before
        };
        self.epoch = Epoch::new(now_ns, skip);
    }

    /// The host asks for less than the depth in force: what is deeper cannot be told from it.
    fn give_way(&mut self, now_ns: u64) {
        match self.state {
            State::First | State::Rest { .. } => {}
            State::Sweep { pass, .. } if self.level >= 2 => {
                self.end_pass(now_ns, pass, self.level - 2);
            }
            State::Sweep { .. } => self.state = State::First,
            State::Compare { enough, .. } => self.rest(now_ns, enough),
        }
    }

    /// Goes on by one epoch of the depth in force.
    fn learn(&mut self, now_ns: u64) {
        match self.state {
            State::First => self.sweep(),
            State::Sweep { pass, top } => {
                if self.level + 2 <= top {
                    self.level += 2;
                } else {
                    self.end_pass(now_ns, pass, top);
                }
            }
            State::Compare {
                from,
                enough,
                best,
                turn,
            } => self.compare(now_ns, from, enough, best, turn),
            State::Rest {
                until_ns,
                seen,
                changed,
            } => {
                let now = self.epoch.sum;
                let seen = seen.unwrap_or(now);
                let differs = differ(seen.throughput(), now.throughput())
                    || differ(seen.read_bytes(), now.read_bytes());
                let changed = if differs { changed + 1 } else { 0 };
                if changed >= CHANGED_EPOCHS || now_ns >= until_ns {
                    self.sweep();
                } else {
                    self.state = State::Rest {
                        until_ns,
                        seen: Some(seen),
                        changed,
                    };
                }
            }
        }
    }

    /// Index of the largest power of two that the device allows. Those are every other level below it.
    fn highest_power(&self) -> usize {
        let last = self.levels - 1;
        if LEVELS[last].is_power_of_two() {
            last
        } else {
            last - 1
        }
    }

    /// Begins with the shallowest: what is too deep fills queues that the next would have to wait for.
    fn sweep(&mut self) {
        self.sums = [Sum::default(); LEVELS.len()];
        let top = self.highest_power();
        self.level = top % 2;
        self.state = State::Sweep { pass: 0, top };
    }

    /// One pass of the sweep has reached level `top`.
    fn end_pass(&mut self, now_ns: u64, pass: u32, top: usize) {
        if pass + 1 < PASSES {
            self.level = top % 2;
            self.state = State::Sweep {
                pass: pass + 1,
                top,
            };
            return;
        }
        let tried = || (top % 2..=top).step_by(2);
        let throughput = |level: usize| self.sums[level].throughput();
        let most = tried().map(throughput).fold(0.0, f64::max);
        let reaches = |share: f64| tried().find(|&level| throughput(level) >= share * most);
        let best = reaches(AS_GOOD).unwrap_or(top);
        let enough = reaches(ENOUGH + CLEARLY).unwrap_or(best).min(best);
        // The level before the first that might do, and the half step behind it, are still to be looked at.
        let might_do = reaches(ENOUGH - CLEARLY).unwrap_or(best).min(enough);
        let from = might_do.saturating_sub(1);
        self.halve(now_ns, from, enough, best);
    }

    /// Looks at the middle of what is left between `from` and `enough`.
    fn halve(&mut self, now_ns: u64, from: usize, enough: usize, best: usize) {
        if from >= enough {
            return self.rest(now_ns, enough);
        }
        self.sums = [Sum::default(); LEVELS.len()];
        self.level = best;
        self.state = State::Compare {
            from,
            enough,
            best,
            turn: 0,
        };
    }

    /// An epoch of a comparison is over.
    fn compare(&mut self, now_ns: u64, from: usize, enough: usize, best: usize, turn: u32) {
        let middle = from.midpoint(enough);
        if self.level == best {
            self.level = middle;
            return;
        }
        let turn = turn + 1;
        let share = self.sums[middle].throughput() / self.sums[best].throughput();
        let clear = turn >= TURNS_MIN && (share - ENOUGH).abs() > CLEARLY;
        if turn < TURNS && !clear {
            self.level = best;
            self.state = State::Compare {
                from,
                enough,
                best,
                turn,
            };
        } else if share >= ENOUGH {
            self.halve(now_ns, from, middle, best);
        } else {
            self.halve(now_ns, middle + 1, enough, best);
        }
    }

    fn rest(&mut self, now_ns: u64, level: usize) {
        self.level = level;
        self.found = Some(self.limit());
        self.state = State::Rest {
            until_ns: now_ns + REST_NS,
            seen: None,
            changed: 0,
        };
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{DepthControl, LEVELS};

    /// A device that serves `parallel` reads at once, `service_ns` each.
    #[derive(Clone, Copy)]
    struct Model {
        parallel: f64,
        service_ns: f64,
    }

    impl Model {
        /// Reads a second at a depth. Smooth around the knee, as devices are.
        fn at(self, depth: u32) -> f64 {
            let share = f64::from(depth) / self.parallel;
            self.parallel * share / (1.0 + share.powi(4)).powf(0.25) / self.service_ns * 1e9
        }

        /// The least level with this share of the greatest throughput.
        fn least(self, share: f64) -> u32 {
            let enough = |depth: &&u32| self.at(**depth) >= share * self.at(256);
            LEVELS.iter().find(enough).copied().unwrap_or(256)
        }

        /// Lets a control work, of a host that asks for `asked` reads at once; returns when it has found a depth, or the
        /// end of the `rounds`.
        fn run(
            self,
            control: &mut DepthControl,
            asked: u32,
            noise: f64,
            rounds: u64,
            from_ns: u64,
        ) -> u64 {
            let mut state = 0x1234_5678_9abc_def1u64;
            let mut random = move || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
            };
            let mut now_ns = from_ns as f64;
            let mut drift = 0.0;
            for round in 0..rounds {
                if round % 300 == 0 {
                    drift = random() * 2.0 * noise;
                }
                let throughput = self.at(control.limit().min(asked)) * (1.0 + drift);
                (0..8).for_each(|_| control.completed(4096));
                now_ns += 8e9 / throughput;
                let known = control.found().is_some();
                control.round(now_ns as u64, asked > control.limit());
                if !known && control.found().is_some() {
                    break;
                }
            }
            now_ns as u64
        }
    }

    #[test]
    fn the_least_depth_with_nine_tenths_of_the_throughput_is_found_in_two_seconds() {
        for parallel in [1.0, 3.0, 10.0, 32.0, 90.0, 400.0] {
            for noise in [0.0, 0.05] {
                let model = Model {
                    parallel,
                    service_ns: f64::min(parallel * 12_000.0, 400_000.0),
                };
                let mut control = DepthControl::new(256);
                let took_ns = model.run(&mut control, 1000, noise, u64::MAX, 0);
                let depth = control.found().unwrap();
                assert!(took_ns < 2_000_000_000, "{took_ns} ns");
                let (least, most) = (model.least(0.9), model.least(0.94));
                assert!((least..=most).contains(&depth), "{parallel}: {depth}");
            }
        }
    }

    #[test]
    fn another_load_is_noticed_and_another_depth_found() {
        let fast = Model {
            parallel: 40.0,
            service_ns: 480_000.0,
        };
        let slow = Model {
            parallel: 2.0,
            service_ns: 1_000_000.0,
        };
        let mut control = DepthControl::new(256);
        let now_ns = fast.run(&mut control, 1000, 0.02, u64::MAX, 0);
        let deep = control.found();
        let now_ns = fast.run(&mut control, 1000, 0.02, 10_000, now_ns);
        slow.run(&mut control, 1000, 0.02, 10_000, now_ns);
        let shallow = control.found();
        assert!(
            deep >= Some(32) && shallow <= Some(4),
            "{deep:?}, then {shallow:?}"
        );
    }

    #[test]
    fn a_host_that_asks_for_less_than_the_device_takes_is_no_obstacle() {
        let model = Model {
            parallel: 32.0,
            service_ns: 400_000.0,
        };
        for asked in [40, 64, 200, 256] {
            let mut control = DepthControl::new(256);
            model.run(&mut control, asked, 0.02, 200_000, 0);
            let depth = control.found();
            assert!(
                matches!(depth, Some(24..=64)),
                "{asked} asked for: {depth:?}"
            );
        }
    }

    #[test]
    fn a_host_that_asks_for_less_than_the_first_depth_teaches_nothing() {
        let model = Model {
            parallel: 32.0,
            service_ns: 400_000.0,
        };
        let mut control = DepthControl::new(256);
        let before = control.limit();
        model.run(&mut control, 20, 0.02, 100_000, 0);
        assert_eq!((control.limit(), control.found()), (before, None));
    }

    #[test]
    fn rounds_with_writes_teach_nothing_and_a_search_they_interrupt_leaves_the_depth_as_it_was() {
        let fast = Model {
            parallel: 40.0,
            service_ns: 480_000.0,
        };
        let mut control = DepthControl::new(256);
        let first = control.limit();
        let mut now_ns = 0;
        // Reads crawl beside writes, now and then for as long as an epoch: in the middle of a sweep, too.
        for writes in 0..200 {
            now_ns = fast.run(&mut control, 1000, 0.0, 40 + writes, now_ns);
            for _ in 0..writes {
                control.completed(4096);
                now_ns += 1_000_000;
                control.disturbed(now_ns);
                assert_eq!((control.limit(), control.found()), (first, None));
            }
        }
        fast.run(&mut control, 1000, 0.0, u64::MAX, now_ns);
        let depth = control.found().unwrap();
        let (least, most) = (fast.least(0.9), fast.least(0.94));
        assert!((least..=most).contains(&depth), "{depth}");
    }

    #[test]
    fn the_depth_never_exceeds_what_the_device_queues() {
        let model = Model {
            parallel: 1000.0,
            service_ns: 1_000_000.0,
        };
        for depth_max in [1, 2, 5, 31, 64, 100, 256, 1023] {
            let mut control = DepthControl::new(depth_max);
            let mut now_ns = 0.0;
            for _ in 0..100_000 {
                assert!(control.limit() <= depth_max.max(1));
                (0..8).for_each(|_| control.completed(4096));
                now_ns += 8e9 / model.at(control.limit());
                control.round(now_ns as u64, true);
            }
            // The deepest power of two, as this device is never busy.
            let most = 1 << depth_max.min(256).ilog2();
            assert_eq!(control.found(), Some(most), "of {depth_max}");
        }
    }
}
