//! Completions that are polled for.

use crate::RigFile;
use ringfield::{Engine, Poll};

fn engine(poll: Poll) -> Engine {
    let builder = Engine::builder().dram_budget(8 << 20).page_size(16 << 10);
    builder.poll(poll).inline_reads(false).build().unwrap()
}

#[test]
#[ignore = "in the rig: rig/run"]
fn polling_is_granted_where_the_driver_has_poll_queues_and_reads_right() {
    let file = RigFile::new("/rig/disk0", 20_000_003);
    let engine = engine(Poll::IoPoll);
    let field = engine.open(&file.path).unwrap();
    file.check_all(&field);
    let report = engine.report().to_string();
    println!("{report}");
    assert!(report.contains("+IOPOLL"), "{report}");
    assert!(!report.contains("polled completions"), "{report}");
    assert!(engine.stats().ios > 100 && engine.stats().inline_ios == 0);
}

#[test]
#[ignore = "in the rig: rig/run"]
fn hybrid_polling_is_granted_or_what_took_its_place_is_named() {
    let file = RigFile::new("/rig/disk1", 10_000_001);
    let engine = engine(Poll::Hybrid);
    let field = engine.open(&file.path).unwrap();
    file.check_all(&field);
    let report = engine.report();
    let text = report.to_string();
    // Linux 6.13 has it; before that the report names what took its place.
    let lost = report
        .degraded()
        .find(|row| row.item.ends_with("polled completions"));
    match lost {
        None => assert!(text.contains("+HYBRID_IOPOLL"), "{text}"),
        Some(row) => {
            assert_eq!(
                (&*row.requested, &*row.granted),
                ("HYBRID_IOPOLL", "IOPOLL"),
                "{text}"
            );
            assert!(
                text.contains("+IOPOLL") && row.fix.contains("6.13"),
                "{text}"
            );
        }
    }
}

#[test]
#[ignore = "in the rig: rig/run"]
fn a_disk_without_polling_is_read_by_interrupts_and_the_report_says_so() {
    let file = RigFile::new("/rig/virtio", 10_000_007);
    for poll in [Poll::IoPoll, Poll::Hybrid] {
        let engine = engine(poll);
        let field = engine.open(&file.path).unwrap();
        file.check_all(&field);
        let report = engine.report();
        let lost = report
            .degraded()
            .find(|row| row.item.ends_with("polled completions"));
        let lost = lost.unwrap_or_else(|| panic!("{report}"));
        assert_eq!(&*lost.granted, "interrupts");
        assert!(lost.fix.contains("poll_queues"), "{report}");
    }
}
