//! What a job file may hold, and what every other file is told.

use super::*;

fn parse(text: impl AsRef<[u8]>) -> Result<Job, String> {
    Job::parse(Path::new("t.fio"), text.as_ref()).map_err(|e| e.to_string())
}

fn error(text: impl AsRef<[u8]>) -> String {
    parse(text).expect_err("must be refused")
}

#[test]
fn a_job_overrides_global_and_keeps_fio_defaults() {
    let job = parse(
        "; a comment\n[global]\nioengine=io_uring\ndirect=1\nfixedbufs=1\nregisterfiles\n\
         bs=64k # inline\n\n# another\n  [ rand read ]\nfilename=/data/x\\:y.bin\n\tbs = 4k\nrw=randread\r\n\
         iodepth=32\nsize=8g\nruntime=10\ntime_based\ngroup_reporting",
    )
    .expect("a good job");
    assert_eq!(
        job,
        Job {
            name: "rand read".into(),
            rw: Rw::RandRead,
            block_bytes: 4096,
            iodepth: 32,
            size: Some(8 << 30),
            filename: Some("/data/x:y.bin".into()),
            runtime: Some(Duration::from_secs(10)),
            time_based: true,
            direct: Some(true),
            ioengine: Some("io_uring".into()),
            fixedbufs: Some(true),
            registerfiles: Some(true),
            group_reporting: true,
            ..Job::default()
        }
    );
}

#[test]
fn tuning_options_of_a_batched_job_are_recorded() {
    let job = parse(
        "[burst]\nbs=1m\nrw=randread\niodepth=24\niodepth_batch_submit=24\n\
         iodepth_batch_complete_min=24\niodepth_batch_complete_max=24\niodepth_low=1\n\
         iomem=mmaphuge\nnorandommap=1\nrandrepeat=0\nrandseed=7\nrate_iops=500\nthread\n\
         numjobs=2\nname=x\n",
    )
    .expect("a good job");
    assert_eq!(job.batch_submit, Some(24));
    assert_eq!(job.batch_complete_min, Some(24));
    assert_eq!(job.batch_complete_max, Some(24));
    assert_eq!(job.iodepth_low, Some(1));
    assert_eq!(
        (job.norandommap, job.randrepeat, job.randseed),
        (true, false, Some(7))
    );
    assert_eq!(
        (job.rate_iops, job.thread, job.numjobs),
        (Some(500), true, 2)
    );
    assert_eq!(job.iomem.as_deref(), Some("mmaphuge"));
}

#[test]
fn a_burst_is_a_thinktime_after_issued_reads() {
    let job = parse(
        "[burst]\nthinktime=1us\nthinktime_blocks=24\nthinktime_blocks_type=issue\niodepth=24",
    )
    .expect("a good job");
    assert_eq!(
        (job.thinktime, job.thinktime_blocks),
        (Some(Duration::from_micros(1)), 24)
    );
    assert_eq!(
        error("[b]\nthinktime=5"),
        "t.fio:1: thinktime after completed reads is not implemented yet: \
         thinktime_blocks_type=issue is"
    );
}

#[test]
fn what_is_not_implemented_is_named_with_its_line() {
    for (text, expected) in [
        (
            "[j]\nbs=4k\nverify=crc32c",
            "t.fio:3: option 'verify' is not implemented yet",
        ),
        (
            "[j]\nrw=randrw",
            "t.fio:2: rw=randrw is not implemented yet: read and randread are",
        ),
        (
            "[j]\nsize=50%",
            "t.fio:2: size=50% is not implemented yet: a size in bytes is",
        ),
        (
            "[j]\nfilename=a:b",
            "t.fio:2: filename=a:b is not implemented yet: one file is",
        ),
        (
            "[j]\nbs=4k,8k",
            "t.fio:2: bs=4k,8k is not implemented yet: one block size for reads is",
        ),
        (
            "[j]\nsize=${N}",
            "t.fio:2: size=${N} is not implemented yet: variables are not expanded",
        ),
        (
            "[j]\nioengine=posixaio",
            "t.fio:2: ioengine=posixaio is not implemented yet: io_uring, libaio, psync, sync and mmap are",
        ),
        (
            "[a]\nbs=4k\n[b]",
            "t.fio:3: job section [b] is not implemented yet: a job file has one job",
        ),
        (
            "[j]\ninclude more.fio",
            "t.fio:2: option 'include more.fio' is not implemented yet",
        ),
    ] {
        assert_eq!(error(text), expected);
    }
}

#[test]
fn malformed_files_are_told_where() {
    for (text, expected) in [
        ("", "t.fio: no job section such as [randread]"),
        (
            "[global]\nbs=4k",
            "t.fio: no job section such as [randread]",
        ),
        (
            "bs=4k\n[j]",
            "t.fio:1: an option before the first [global] or [job]",
        ),
        ("[j", "t.fio:1: a section is a name in [brackets]"),
        ("[j]x", "t.fio:1: a section is a name in [brackets]"),
        ("[]", "t.fio:1: a section's name has 1 to 255 bytes"),
        ("[j]\n=4k", "t.fio:2: an option is written name=value"),
        ("[j]\nbs", "t.fio:2: option 'bs' needs a value"),
        ("[j]\nbs=", "t.fio:2: option 'bs' needs a value"),
        (
            "[j]\ndirect=yes",
            "t.fio:2: direct=yes: 0 or 1 was expected",
        ),
        (
            "[j]\niodepth=0",
            "t.fio:2: iodepth=0: a number from 1 to 4096 was expected",
        ),
        (
            "[j]\niodepth=5000",
            "t.fio:2: iodepth=5000: a number from 1 to 4096 was expected",
        ),
        (
            "[j]\nnumjobs=-1",
            "t.fio:2: numjobs=-1: a whole number was expected",
        ),
        (
            "[j]\nsize=0",
            "t.fio:2: size=0: a size such as 8g was expected",
        ),
        (
            "[j]\nsize=99999999999999999999g",
            "t.fio:2: size=99999999999999999999g: a size such as 8g was expected",
        ),
        (
            "[j]\nruntime=0",
            "t.fio:2: runtime=0: a time above zero such as 10s was expected",
        ),
        (
            "[j]\nbs=4k\ntime_based",
            "t.fio:1: time_based needs a runtime",
        ),
        (
            "[j]\n[global]",
            "t.fio:2: [global] after the job has no effect",
        ),
        (
            "[j]\nbs=4kib",
            "t.fio:2: bs=4kib: 4000 bytes is not a multiple of 512 from 512 to 64m, \
             as direct I/O needs (fio reads kib as 1000 bytes and k as 1024)",
        ),
        (
            "[j]\nbs=128m",
            "t.fio:2: bs=128m: 134217728 bytes is not a multiple of 512 from 512 to 64m, \
             as direct I/O needs",
        ),
    ] {
        assert_eq!(error(text), expected, "{text:?}");
    }
    assert_eq!(error(b"[j]\nbs=\xff\xfe"), "t.fio:2: not UTF-8 text");
    assert_eq!(error(b"[j]\nbs=4\0k"), "t.fio:2: not UTF-8 text");
    assert_eq!(
        error(format!("[j]\n{}", "x".repeat(5000))),
        "t.fio:2: a line longer than 4096 bytes"
    );
}

#[test]
fn messages_quote_no_control_characters_and_stay_short() {
    let message = error(format!("[j]\n\x1b[31m{}=1", "o".repeat(300)));
    assert!(
        !message.contains('\x1b') && message.len() < 400,
        "{message}"
    );
}

#[test]
fn no_prefix_and_no_byte_flip_of_a_job_panics() {
    let good = b"[global]\ndirect=1\n[j]\nfilename=a\nbs=4k\nsize=1g\nruntime=5s\ntime_based=1\n";
    for end in 0..good.len() {
        drop(parse(&good[..end]));
        for byte in [0, b'\n', b'[', b'=', b':', 0xff, b'9'] {
            let mut text = good.to_vec();
            text[end] = byte;
            drop(parse(text));
        }
    }
}

#[test]
fn a_file_that_cannot_be_a_job_is_refused_without_reading_it_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let big = dir.path().join("big.fio");
    std::fs::File::create(&big)
        .and_then(|f| f.set_len(FILE_BYTES_MAX + 1))
        .expect("a sparse file");
    for (path, expected) in [
        (big.as_path(), "larger than 1 MiB: not a job file"),
        (dir.path(), "not a regular file"),
        (
            &dir.path().join("absent.fio"),
            "No such file or directory (os error 2)",
        ),
    ] {
        let message = Job::load(path).expect_err("must be refused").to_string();
        assert!(message.ends_with(expected), "{message}");
    }
}
