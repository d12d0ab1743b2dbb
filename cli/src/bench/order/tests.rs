//! What every order of reads keeps to.

mod like_fio;

use super::*;
use crate::bench::load::tests::load;

fn order(text: &str, file_bytes: &[u64]) -> Order {
    Order::new(&load(text, file_bytes).expect("fits"), 0)
}

const TIMED: &str = "time_based\nruntime=1\n";

fn offsets(order: &mut Order, reads: usize) -> Vec<u64> {
    std::iter::from_fn(|| order.next())
        .map(|read| read.offset)
        .take(reads)
        .collect()
}

#[test]
fn a_random_pass_reads_every_block_once_and_the_next_in_another_order() {
    for blocks in [1, 2, 3, 5, 64, 1000, 4097] {
        let job = format!("[j]\nrw=randread\nbs=512\n{TIMED}");
        let mut order = order(&job, &[blocks * 512]);
        let mut seen = offsets(&mut order, blocks as usize);
        let next = offsets(&mut order, blocks as usize);
        assert!(blocks < 64 || !seen.is_sorted());
        assert!(blocks < 64 || next != seen);
        seen.sort_unstable();
        assert!(
            seen.iter().copied().eq((0..blocks).map(|b| b * 512)),
            "{blocks} blocks"
        );
    }
}

#[test]
fn sequential_reads_wrap_at_the_end_of_a_timed_job_only() {
    let mut timed = order(&format!("[j]\nbs=4k\n{TIMED}"), &[3 * 4096]);
    assert_eq!(offsets(&mut timed, 4), [0, 4096, 8192, 0]);
    let mut once = order("[j]\nbs=4k", &[3 * 4096]);
    assert_eq!(offsets(&mut once, 4), [0, 4096, 8192]);
}

#[test]
fn every_read_stays_inside_the_region() {
    for job in [
        "rw=randread\nnorandommap\nbs=4k",
        "rw=randread\nnorandommap\nbsrange=4k-64k",
        "rw=randread\nbssplit=4k/10:48k/90",
        "rw=read\nbsrange=12k-64k",
        "rw=randread\npercentage_random=30\nbs=8k",
        "rw=randread\npercentage_random=30\nbsrange=4k-16k",
        "rw=randread:8\nbsrange=4k-16k",
        "rw=randread:5\nnorandommap\nbs=8k\nrw_sequencer=identical",
    ] {
        for (options, inside) in [("", 0..100), ("offset=8k\nsize=50%", 2..52)] {
            let mut order = order(&format!("[j]\n{job}\n{options}\n{TIMED}"), &[100 * 4096]);
            for _ in 0..3000 {
                let read = order.next().expect("endless");
                assert!(
                    read.bytes > 0
                        && read.offset >= inside.start * 4096
                        && read.offset + read.bytes <= inside.end * 4096,
                    "{job}: {read:?}"
                );
                assert!(read.bytes.is_multiple_of(4096));
            }
        }
    }
}

#[test]
fn mixed_sizes_with_a_map_read_every_byte_once() {
    let mut order = order("[j]\nrw=randread\nbssplit=4k/50:32k/50", &[1000 * 4096]);
    let mut seen = [false; 1000];
    while let Some(read) = order.next() {
        for unit in read.offset / 4096..(read.offset + read.bytes) / 4096 {
            assert!(
                !std::mem::replace(&mut seen[unit as usize], true),
                "{read:?}"
            );
        }
    }
    assert!(seen.iter().all(|&seen| seen));
}

#[test]
fn files_take_turns_and_those_done_are_passed_over() {
    let mut order = order("[j]\nbs=4k", &[8192, 16384]);
    let reads: Vec<_> = std::iter::from_fn(|| order.next())
        .map(|read| (read.file, read.offset / 4096))
        .collect();
    assert_eq!(reads, [(0, 0), (1, 0), (0, 1), (1, 1), (1, 2), (1, 3)]);
}

#[test]
fn files_are_drawn_where_the_job_says_so() {
    let job = "[j]\nrw=randread\nbs=4k\nfile_service_type=random";
    let mut order = order(job, &[1 << 20, 1 << 20]);
    let files: Vec<_> = std::iter::from_fn(|| order.next())
        .map(|read| read.file)
        .collect();
    assert_eq!(files.len(), 512);
    let repeats = files.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert!((150..350).contains(&repeats), "{repeats}");
}

#[test]
fn the_share_of_random_reads_is_what_the_job_says() {
    let job = format!("[j]\nrw=randread\npercentage_random=20\nnorandommap\nbs=4k\n{TIMED}");
    let mut order = order(&job, &[1 << 30]);
    let offsets = offsets(&mut order, 10_000);
    let jumps = offsets
        .windows(2)
        .filter(|pair| pair[1] != pair[0] + 4096)
        .count();
    assert!((1800..2200).contains(&jumps), "{jumps}");
}

#[test]
fn sections_that_run_together_have_orders_of_their_own() {
    let first = load("[j]\nrw=randread\nbs=4k", &[1 << 20]).expect("fits");
    let second = Load {
        first_thread: 1,
        ..first.clone()
    };
    let of = |load| offsets(&mut Order::new(load, 0), 256);
    assert_ne!(of(&first), of(&second));
    assert_eq!(of(&first), of(&first.clone()));
}

#[test]
fn what_the_page_cache_rival_draws_is_drawn_once_however_runs_go_on() {
    let job = format!("[j]\nrw=randread:4\nnorandommap\nbs=4k\nsize=64k\n{TIMED}");
    let mut order = Order::each_once(&load(&job, &[1 << 20]).expect("fits"));
    let reads: Vec<u64> = std::iter::from_fn(|| order.next())
        .map(|read| read.offset)
        .collect();
    assert!(reads.iter().all(|&offset| offset < 64 << 10));
    // All sixteen blocks, and what follows on each but the last of the region.
    let mut seen = reads.clone();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 16);
    assert!((48..=64).contains(&reads.len()), "{}", reads.len());
}
