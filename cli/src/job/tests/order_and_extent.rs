//! Options that say where a job reads, how much and in which order, and their values.

use super::{error, parse, parse_all};
use crate::job::*;

#[test]
fn a_list_has_values_for_reads_writes_and_trims_and_the_first_counts() {
    let of = |text: &str| {
        let job = parse(format!("[j]\n{text}")).expect(text);
        let sizes = job.sizes();
        (sizes.min(), sizes.max(), job.share_unit())
    };
    let k = |bytes: u64| bytes << 10;
    for (text, expected) in [
        ("bs=4k,8k", (4, 4, 4)),
        ("bs=16k,8k", (16, 16, 8)),
        // Without a comma at the end, trims are like writes.
        ("bs=16k,8k,2k", (16, 16, 2)),
        ("bs=16k,8k,", (16, 16, 4)),
        ("bs=16k,", (16, 16, 4)),
        // Nothing said of reads: as before, fio's default 4k.
        ("bs=,8k", (4, 4, 4)),
        ("bs=64k\nbs=,8k,", (64, 64, 8)),
        ("bsrange=8k-32k,16k-64k", (8, 32, 8)),
        ("bsrange=8k-32k,1k-64k", (8, 32, 1)),
        ("bsrange=,8k-64k\nbs=32k", (32, 32, 8)),
        ("bssplit=8k/50:16k/50,64k", (8, 16, 8)),
        ("bssplit=8k/50:16k/50,64k/10:2k/90,", (8, 16, 2)),
    ] {
        let (min, max, unit) = expected;
        assert_eq!(of(text), (k(min), k(max), k(unit)), "{text}");
    }
    for (text, expected) in [
        (
            "bs=4k,8k,2k,1k",
            "t.fio:2: bs=4k,8k,2k,1k: at most three are possible: for reads, writes and trims",
        ),
        ("bs=,", "t.fio:2: bs=,: a size such as 4k was expected"),
        (
            "bs=4k,x",
            "t.fio:2: bs=4k,x: a size such as 4k was expected",
        ),
        (
            "bs=4k-8k",
            "t.fio:2: bs=4k-8k: a size such as 4k was expected",
        ),
        (
            "bsrange=4k-8k,16k",
            "t.fio:2: bsrange=4k-8k,16k: a range such as 4k-64k was expected",
        ),
        (
            "bssplit=1000,4k",
            "t.fio:2: bssplit=1000,4k: 1000 bytes is not a multiple of 512 from 512 to 64m, \
             as direct I/O needs",
        ),
    ] {
        assert_eq!(error(format!("[j]\n{text}")), expected);
    }
    // Nothing is written: these need not suit direct I/O.
    assert!(parse("[j]\nbs=4k,1000").is_ok());
}

#[test]
fn the_number_behind_rw_is_a_run_of_random_and_a_hole_of_sequential_reads() {
    let of = |text: &str| {
        let job = parse(format!("[j]\n{text}")).expect(text);
        (job.rw, job.pattern.run, job.pattern.stride, job.identical)
    };
    assert_eq!(of("rw=randread:8"), (Rw::RandRead, 8, 0, false));
    assert_eq!(of("rw=read:12k"), (Rw::Read, 1, 12 << 10, false));
    assert_eq!(
        of("rw=randrw:3\nrwmixread=100\nrw_sequencer=identical"),
        (Rw::RandRead, 3, 0, true)
    );
    // Each `rw` says it anew.
    assert_eq!(
        of("rw=randread:8\nrw=randread"),
        (Rw::RandRead, 1, 0, false)
    );
    for (text, expected) in [
        (
            "rw=randread:0",
            "t.fio:2: rw=randread:0: a number of reads such as 8 was expected",
        ),
        (
            "rw=randread:8k",
            "t.fio:2: rw=randread:8k: a number of reads such as 8 was expected",
        ),
        // Eight bytes, to fio.
        (
            "rw=read:8",
            "t.fio:2: rw=read:8: a multiple of 512 bytes such as 4k was expected, \
             as direct I/O needs",
        ),
        (
            "rw=read:1000",
            "t.fio:2: rw=read:1000: a multiple of 512 bytes such as 4k was expected, \
             as direct I/O needs",
        ),
        (
            "rw=write:4k",
            "t.fio:2: rw=write:4k writes, and ringfield reads only: read and randread are there",
        ),
        (
            "rw_sequencer=zigzag",
            "t.fio:2: rw_sequencer=zigzag is not implemented yet: sequential and identical are",
        ),
    ] {
        assert_eq!(error(format!("[j]\n{text}")), expected);
    }
}

#[test]
fn sizes_and_offsets_are_bytes_or_shares_of_the_file() {
    let job = parse("[j]\nsize=50%\nio_limit=25%\nfileoffset=8k").expect("a good job");
    assert_eq!(job.size, Some(Amount::Percent(50)));
    assert_eq!(job.io_size, Some(Amount::Percent(25)));
    assert_eq!(job.offset, Some(Amount::Bytes(8192)));
    assert_eq!(Amount::Percent(50).of(u64::MAX), u64::MAX / 2);
    assert_eq!(
        parse("[j]\nsize=8k\nsize=50%").expect("a good job").size,
        Some(Amount::Percent(50))
    );
    for (text, expected) in [
        (
            "[j]\nsize=0%",
            "t.fio:2: size=0%: a share is from 1% to 100%",
        ),
        (
            "[j]\nio_size=101%",
            "t.fio:2: io_size=101%: a share is from 1% to 100%",
        ),
        (
            "[j]\noffset=1000",
            "t.fio:2: offset=1000: a multiple of 512 bytes was expected, as direct I/O needs",
        ),
        (
            "[j]\noffset=3z",
            "t.fio:2: offset=3z: a size such as 8g or 50% was expected",
        ),
        // fio 3.33 reads 16k with `size=50%` before `size=32k`, though nothing says so.
        (
            "[global]\nsize=50%\n[j]\nsize=32k",
            "t.fio:4: size=32k: a share in percent was given before, and fio would apply both",
        ),
    ] {
        assert_eq!(error(text), expected);
    }
}

#[test]
fn thinktime_counts_completed_reads_unless_told_otherwise() {
    let of = |text: &str| {
        let job = parse(format!("[j]\n{text}")).expect(text);
        let us = job.thinktime.as_micros();
        (us, job.thinktime_blocks, job.thinktime_by_issue)
    };
    assert_eq!(of("thinktime=5"), (5, 1, false));
    assert_eq!(
        of("thinktime=1ms\nthinktime_blocks=24\nthinktime_blocks_type=issue"),
        (1000, 24, true)
    );
    assert_eq!(
        of("thinktime_blocks_type=issue\nthinktime_blocks_type=complete"),
        (0, 1, false)
    );
    assert_eq!(of("thinktime=0\nthinktime_spin=0"), (0, 1, false));
    for (text, expected) in [
        (
            "thinktime=2h",
            "t.fio:2: thinktime=2h: a time up to 4294s such as 100us was expected",
        ),
        (
            "thinktime_blocks=0",
            "t.fio:2: thinktime_blocks=0: a number from 1 to 4294967295 was expected",
        ),
        (
            "thinktime_blocks_type=submit",
            "t.fio:2: thinktime_blocks_type=submit is not implemented yet: complete and issue are",
        ),
    ] {
        assert_eq!(error(format!("[j]\n{text}")), expected);
    }
}

#[test]
fn a_comment_in_a_section_marks_its_reads_as_hints() {
    let marks = |text: &str| {
        let file = parse_all(text).expect(text);
        let marks: Vec<bool> = file.jobs.iter().map(|job| job.prefetch).collect();
        (marks, file.engine)
    };
    let none = EngineSettings::default();
    assert_eq!(
        marks("[a]\n; ringfield: prefetch\n[b]\n"),
        (vec![true, false], none.clone())
    );
    assert_eq!(
        marks("[global]\n#ringfield: prefetch=1\n[a]\n[b]\n# ringfield: prefetch=0\n"),
        (vec![true, false], none)
    );
    // Beside the settings of the engine, of which there is one comment in a file.
    let (both, engine) = marks("; ringfield: queue_depth=4\n[a]\n[b]\n; ringfield: prefetch\n");
    assert_eq!((both, engine.queue_depth), (vec![false, true], Some(4)));
    for (text, expected) in [
        (
            "; ringfield: prefetch\n[a]",
            "t.fio:1: the engine's setting prefetch: it stands in the section that it is for",
        ),
        (
            "[a]\n; ringfield: prefetch=yes",
            "t.fio:2: the engine's setting prefetch=yes: 0 or 1 was expected",
        ),
    ] {
        assert_eq!(error(text), expected);
    }
}
