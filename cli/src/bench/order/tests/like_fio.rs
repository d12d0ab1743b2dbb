//! Reads beside those that fio logs for the same job.

use std::time::Duration;

use super::*;
use crate::bench::reads::Reads;

/// What fio reads for this job on files of so many bytes: file, offset and length.
fn of_fio(job: &str, file_bytes: &[u64]) -> Option<Vec<Read>> {
    let dir = tempfile::tempdir().expect("a directory");
    for (number, &bytes) in file_bytes.iter().enumerate() {
        let content = vec![1; bytes as usize];
        std::fs::write(dir.path().join(format!("f{number}")), content).expect("written");
    }
    let names: Vec<String> = (0..file_bytes.len()).map(|n| format!("f{n}")).collect();
    // An engine with a queue, as the bench's: without one fio does not begin anew after `size`.
    let whole = format!("{job}\nfilename={}\nioengine=libaio\n", names.join(":"));
    std::fs::write(dir.path().join("job.fio"), whole).expect("written");
    let output = std::process::Command::new("fio")
        .current_dir(dir.path())
        .args(["--readonly", "--write_iolog=log", "job.fio"])
        .output();
    match output {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(e) => {
            println!("SKIPPED: fio: {e}");
            return None;
        }
    }
    let log = std::fs::read_to_string(dir.path().join("log")).expect("a log");
    // `time file read offset length`
    let read = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "read")?;
        Some(Read {
            file: words.get(at - 1)?.strip_prefix('f')?.parse().ok()?,
            offset: words.get(at + 1)?.parse().ok()?,
            bytes: words.get(at + 2)?.parse().ok()?,
        })
    };
    let reads: Vec<Read> = log.lines().filter_map(read).collect();
    assert!(!reads.is_empty(), "{log}");
    Some(reads)
}

/// Ours, at most so many.
fn ours(job: &str, file_bytes: &[u64], most: usize) -> Vec<Read> {
    let load = load(job, file_bytes).expect("fits");
    let mut reads = Reads::new(&load, Order::new(&load, 0), 1);
    let next = || match reads.go_on(Duration::ZERO) {
        true => reads.next(),
        false => None,
    };
    std::iter::from_fn(next).take(most).collect()
}

#[test]
fn reads_in_order_are_exactly_those_of_fio() {
    const MOST: usize = 500;
    let k = |sizes: &[u64]| sizes.iter().map(|size| size << 10).collect::<Vec<u64>>();
    for (options, files) in [
        // Files in turn, and those done are passed over.
        ("bs=4k", k(&[64, 128])),
        ("bs=8k\nsize=64k", k(&[64, 128])),
        ("bs=4k,8k", k(&[64])),
        // A part of the file.
        ("bs=16k\nsize=33%", k(&[128])),
        ("bs=16k\noffset=33%", k(&[128])),
        ("bs=16k,4k\noffset=33%", k(&[128])),
        ("bs=8k\nsize=50%\noffset=75%", k(&[128])),
        ("bs=8k\nsize=32k\noffset=24k", k(&[128])),
        ("bs=8k\nsize=50%\noffset=10%", k(&[64, 200])),
        // Less than the part, and more: then it is read again.
        ("bs=16k\nio_size=50%", k(&[128])),
        ("bs=16k\nsize=64k\nio_size=50%", k(&[128])),
        ("bs=16k\nsize=32k\nio_size=16k", k(&[128])),
        ("bs=16k\nsize=32k\nio_size=80k", k(&[128])),
        ("bs=16k\nsize=32k\nio_size=72k", k(&[128])),
        ("bs=4k\nio_size=50%", k(&[64, 128])),
        ("bs=4k\nio_size=300k", k(&[64, 128])),
        // With holes, to the end of the part and of the file.
        ("bs=16k\nrw=read:16k", k(&[128])),
        ("bs=16k\nrw=read:4k", k(&[128])),
        ("bs=16k\nrw=read:16k\nsize=64k", k(&[128])),
        ("bs=8k\nrw=read:40k\nio_size=200k", k(&[128])),
        ("bs=16k\nrw=read:4k\nsize=64k", k(&[128])),
        ("bs=16k\nrw=read:4k\nsize=64k\nio_size=200k", k(&[128])),
        ("bs=8k\nrw=read:8k\noffset=16k", k(&[128])),
        ("bs=4k\nrw=read:40k\noffset=8k", k(&[128])),
        ("bs=4k\nrw=read:4k", k(&[64, 128])),
        ("bs=4k\nrw=read:8k\nrw_sequencer=identical", k(&[64])),
        // For a time.
        ("bs=4k\nrw=read:8k\ntime_based\nruntime=20ms", k(&[64])),
        (
            "bs=4k\nrw=read:8k\nsize=32k\ntime_based\nruntime=20ms",
            k(&[64]),
        ),
        (
            "bs=4k\nsize=25%\noffset=25%\ntime_based\nruntime=20ms",
            k(&[64]),
        ),
        ("bs=4k\ntime_based\nruntime=20ms", k(&[16, 48])),
    ] {
        let job = format!("[j]\n{options}");
        let Some(mut fio) = of_fio(&job, &files) else {
            return;
        };
        fio.truncate(MOST);
        // How far it comes in its time is not the question.
        let most = match options.contains("time_based") {
            true => fio.len(),
            false => MOST,
        };
        let ours = ours(&job, &files, most);
        let differ = ours.iter().zip(&fio).position(|(ours, fio)| ours != fio);
        let pair = differ.map(|at| (at, ours[at], fio[at]));
        assert_eq!((pair, ours.len()), (None, fio.len()), "{options}");
    }
}

#[test]
fn runs_of_random_reads_are_as_long_and_end_as_those_of_fio() {
    const FILE: u64 = 1 << 20;
    for (options, run, region) in [
        ("rw=randread:8", 8, 0..FILE),
        ("rw=randread:3\nnorandommap", 3, 0..FILE),
        ("rw=randread:8\nbsrange=4k-16k\nnorandommap", 8, 0..FILE),
        // Where the part of the file ends before the file, a job that has no time ends there too,
        ("rw=randread:8\nsize=64k\nrandseed=1", 8, 0..64 << 10),
        ("rw=randread:8\nsize=64k\nrandseed=2", 8, 0..64 << 10),
        ("rw=randread:8\nsize=64k\nrandseed=3", 8, 0..64 << 10),
        // and one that has begins at the start of the part.
        (
            "rw=randread:8\nsize=25%\noffset=25%\ntime_based\nruntime=20ms",
            8,
            FILE / 4..FILE / 2,
        ),
    ] {
        let job = format!("[j]\nbs=4k\n{options}");
        let timed = options.contains("time_based");
        let Some(mut fio) = of_fio(&job, &[FILE]) else {
            return;
        };
        fio.truncate(2000);
        for reads in [&ours(&job, &[FILE], 2000), &fio] {
            let mut jumps = 0;
            for (number, pair) in (1..).zip(reads.windows(2)) {
                let [before, next] = pair else { continue };
                let end = before.offset + before.bytes;
                let follows = next.offset == end;
                match (number % run, end == region.end) {
                    (0, _) => jumps += usize::from(!follows),
                    (_, false) => assert!(follows, "{options}: {number}: {pair:?}"),
                    (_, true) if timed => assert_eq!(next.offset, region.start, "{options}"),
                    (_, true) => assert_eq!(region.end, FILE, "{options}: {number}: {pair:?}"),
                }
            }
            let drawn = (reads.len() - 1) / run;
            assert!(
                drawn < 10 || jumps * 10 >= drawn * 8,
                "{options}: {jumps} of {drawn}"
            );
            let bytes: u64 = reads.iter().map(|read| read.bytes).sum();
            let last = reads.last().map(|read| read.offset + read.bytes);
            assert!(
                timed || bytes >= region.end || last == Some(region.end),
                "{options}: {bytes} bytes, the last to {last:?}"
            );
        }
    }
}

#[test]
fn identical_reads_are_those_of_fio() {
    for (files, same) in [(vec![1 << 20], 5), (vec![1 << 20, 1 << 20], 6)] {
        let job = format!("[j]\nbs=4k\nrw=randread:{same}\nrw_sequencer=identical\nnorandommap");
        let Some(fio) = of_fio(&job, &files) else {
            return;
        };
        for reads in [&ours(&job, &files, usize::MAX), &fio] {
            for (number, pair) in (files.len()..).zip(reads.windows(files.len() + 1)) {
                let (before, next) = (pair[0], pair[files.len()]);
                assert_eq!(before.file, next.file);
                // A file's first read may not be the first of a run, and then is where it begins.
                let drawn = number % same == 0;
                assert!(drawn || next.offset == before.offset, "{number}: {pair:?}");
            }
        }
    }
}

#[test]
fn mixtures_have_the_shares_that_fio_gives_them() {
    let file_bytes = 32 << 20;
    for job in [
        "rw=randread\nnorandommap\nbssplit=4k/50:16k:32k",
        "rw=randread\nnorandommap\nbssplit=4k/30:64k/30",
        "rw=randread\nnorandommap\nbsrange=24k-64k",
        "rw=randread\nnorandommap\nbsrange=4k-32k",
        "rw=randread\nbssplit=4k/50:32k/50",
        "rw=read\nbsrange=4k-32k",
        "rw=randread\nnorandommap\nbs=8k\npercentage_random=30",
        "rw=randread\nbs=8k\npercentage_random=70",
    ] {
        let job = format!("[j]\n{job}");
        let Some(fio) = of_fio(&job, &[file_bytes]) else {
            return;
        };
        let ours = ours(&job, &[file_bytes], fio.len());
        // Reads of the smallest size, mean size, and reads that follow on the one before.
        let shares = |reads: &[Read]| {
            let count = reads.len() as f64;
            let least = reads.iter().map(|read| read.bytes).min().unwrap_or(0);
            let small = reads.iter().filter(|read| read.bytes == least).count();
            let bytes: u64 = reads.iter().map(|read| read.bytes).sum();
            let follow = reads
                .windows(2)
                .filter(|pair| pair[1].offset == pair[0].offset + pair[0].bytes)
                .count();
            [
                small as f64 / count,
                bytes as f64 / count / 65536.0,
                follow as f64 / count,
            ]
        };
        for (ours, fio) in shares(&ours).into_iter().zip(shares(&fio)) {
            assert!((ours - fio).abs() < 0.06, "{job}: {ours} and {fio}");
        }
    }
}
