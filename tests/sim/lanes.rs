//! Prefetch beside demand, in virtual time.

use crate::random::Random;
use ringfield::Engine;
use ringfield::sim::{Disk, Faults, Machine, Simulation};
use std::time::Duration;

const PAGE: u64 = 4096;
const FILE: &str = "weights";
const READ_NS: u64 = 1_000_000;
const DEPTH: usize = 32;

#[test]
fn prefetch_holds_back_while_demand_is_active_and_has_the_full_depth_ten_milliseconds_later() {
    let disk = Disk::new(7);
    let content = Random::new(7).bytes(1024 * PAGE as usize);
    disk.add_file(FILE, content, 512).unwrap();
    let mut faults = Faults::default();
    faults.latency_ns = (READ_NS, READ_NS);
    disk.set_faults(faults);
    let mut machine = Machine::default();
    machine.frames_max = 512;
    machine.read_bytes_max = 64 << 10;
    let builder = Engine::builder()
        .dram_budget(8 << 20)
        .page_size(PAGE)
        .queue_depth(DEPTH as u32);
    let mut simulation = Simulation::on(&disk, builder, machine).unwrap();
    let field = simulation.open(FILE).unwrap();

    // Every second page, so that each is a read of its own.
    let ahead: Vec<_> = (0..300).map(|k| 2 * k * PAGE..(2 * k + 1) * PAGE).collect();
    assert_eq!(field.prefetch(&ahead), 300);
    let demand = simulation.run(field.read_async(1000 * PAGE..1001 * PAGE));
    demand.expect("it ends").expect("it succeeds");
    // Reads take the same time here: what was handed over right behind it ended with it.
    let behind = disk.log().len() - 1;
    assert!(
        (1..=8).contains(&behind),
        "{behind} prefetches behind a demand read"
    );
    // It was handed over a read's time before.
    let last_demand_ns = disk.now_ns() - READ_NS;
    let full_ns = last_demand_ns + 10_000_000;

    let mut held_back = 0;
    while disk.now_ns() < full_ns {
        assert!(
            disk.reads_in_flight() <= 8,
            "{} prefetches in flight {} ns after a demand read",
            disk.reads_in_flight(),
            disk.now_ns() - last_demand_ns
        );
        held_back += 1;
        assert!(simulation.step_within(Duration::from_micros(100)));
    }
    assert!(held_back > 10);
    // The read that is in flight by then may end first.
    while disk.now_ns() < full_ns + READ_NS && disk.reads_in_flight() < DEPTH {
        assert!(simulation.step_within(Duration::from_micros(100)));
    }
    assert_eq!(disk.reads_in_flight(), DEPTH);
    while simulation.step() {}
    assert_eq!(simulation.engine().stats().frames_loading, 0);
}

#[test]
fn before_a_depth_is_found_sixteen_mebibytes_are_in_flight_and_no_more() {
    const LARGE: u64 = 1 << 20;
    for (queue_depth, wanted) in [(None, 16), (Some(32), 24)] {
        let disk = Disk::new(11);
        let content = Random::new(11).bytes(48 * LARGE as usize);
        disk.add_file(FILE, content, 512).unwrap();
        let mut faults = Faults::default();
        faults.latency_ns = (READ_NS, READ_NS);
        disk.set_faults(faults);
        let mut machine = Machine::default();
        machine.frames_max = 32;
        machine.read_bytes_max = LARGE as u32;
        let mut builder = Engine::builder().dram_budget(64 << 20).page_size(LARGE);
        if let Some(reads) = queue_depth {
            builder = builder.queue_depth(reads);
        }
        let mut simulation = Simulation::on(&disk, builder, machine).unwrap();
        let field = simulation.open(FILE).unwrap();
        let mut batch = simulation.engine().batch(24).unwrap();
        for k in 0..24 {
            let page = 2 * k * LARGE..(2 * k + 1) * LARGE;
            batch.submit(&field, page, k).unwrap();
        }
        batch.flush();
        let mut most = 0;
        while disk.log().len() < 24 || disk.reads_in_flight() > 0 {
            assert!(simulation.step_within(Duration::from_micros(100)));
            most = most.max(disk.reads_in_flight());
        }
        assert_eq!(most, wanted, "{queue_depth:?}");
    }
}
