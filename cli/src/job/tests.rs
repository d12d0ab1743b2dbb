//! What a job file may hold, and what every other file is told.

mod order_and_extent;

use super::*;

fn parse(text: impl AsRef<[u8]>) -> Result<Job, String> {
    let file = parse_all(text)?;
    assert_eq!(file.jobs.len(), 1);
    Ok(file.jobs[0].clone())
}

fn parse_all(text: impl AsRef<[u8]>) -> Result<JobFile, String> {
    JobFile::parse(Path::new("t.fio"), text.as_ref()).map_err(|e| e.to_string())
}

fn error(text: impl AsRef<[u8]>) -> String {
    parse_all(text).expect_err("must be refused")
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
            iodepth: 32,
            size: Some(Amount::Bytes(8 << 30)),
            filenames: [PathBuf::from("/data/x:y.bin")].into(),
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
fn what_is_not_implemented_is_named_with_its_line() {
    for (text, expected) in [
        (
            "[j]\nbs=4k\nverify=crc32c",
            "t.fio:3: option 'verify' is not implemented yet",
        ),
        (
            "[j]\nrw=read:-8k",
            "t.fio:2: rw=read:-8k is not implemented yet: reading forwards is",
        ),
        (
            "[j]\nthinktime=9\nthinktime_spin=5",
            "t.fio:3: thinktime_spin=5 is not implemented yet: sleeping is, \
             as fio 3.33 hangs when a spin takes longer than the thinktime",
        ),
        (
            "[j]\nthinktime_iotime=5",
            "t.fio:2: option 'thinktime_iotime' is not implemented yet",
        ),
        (
            "[j]\nfile_service_type=zipf",
            "t.fio:2: file_service_type=zipf is not implemented yet: roundrobin and random are",
        ),
        (
            "[j]\nfilename=a:b\nnrfiles=1",
            "t.fio:1: nrfiles that is not the number of names in filename is not implemented yet",
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
            "[j]\ninclude more.fio",
            "t.fio:2: option 'include more.fio' is not implemented yet",
        ),
    ] {
        assert_eq!(error(text), expected);
    }
}

#[test]
fn what_writes_is_refused_and_a_mix_of_reads_alone_is_a_read() {
    for (text, expected) in [
        (
            "[j]\nrw=randwrite",
            "t.fio:2: rw=randwrite writes, and ringfield reads only: read and randread are there",
        ),
        (
            "[j]\nbs=4k\nrw=randrw",
            "t.fio:3: rw=randrw writes, and ringfield reads only: \
             rwmixread=100 makes it a mix of reads alone",
        ),
        (
            "[global]\nreadwrite=readwrite\n[j]",
            "t.fio:2: rw=rw writes, and ringfield reads only: \
             rwmixread=100 makes it a mix of reads alone",
        ),
        (
            "[j]\nrw=randrw\nrwmixread=70",
            "t.fio:3: rwmixread=70 writes, and ringfield reads only: \
             rwmixread=100 makes it a mix of reads alone",
        ),
        (
            "[j]\nrw=randrw\nrwmixwrite=100",
            "t.fio:3: rwmixwrite=100 writes, and ringfield reads only: \
             rwmixread=100 makes it a mix of reads alone",
        ),
    ] {
        assert_eq!(error(text), expected);
    }
    for (text, rw) in [
        ("[j]\nrw=randrw\nrwmixread=100", Rw::RandRead),
        ("[j]\nrwmixwrite=0\nrw=rw", Rw::Read),
        ("[global]\nrwmixread=100\n[j]\nrw=readwrite", Rw::Read),
        ("[global]\nrw=randrw\n[j]\nrw=randread", Rw::RandRead),
    ] {
        assert_eq!(parse(text).expect(text).rw, rw);
    }
}

#[test]
fn each_section_inherits_what_global_said_before_it() {
    let file = parse_all(
        "[global]\nbs=8k\niodepth=4\n[a]\n[b]\nbs=16k\nwait_for_previous\nnew_group\n\
         [globals]\nbs=32k\n[c]\niodepth=2\nname=other\n",
    )
    .expect("a good file");
    let of = |job: &Job| {
        (
            job.name.clone(),
            job.sizes().min(),
            job.iodepth,
            job.stonewall,
        )
    };
    let jobs: Vec<_> = file.jobs.iter().map(of).collect();
    assert_eq!(
        jobs,
        [
            ("a".into(), 8 << 10, 4, false),
            ("b".into(), 16 << 10, 4, true),
            ("other".into(), 32 << 10, 2, false)
        ]
    );
    let many = "[j]\n".repeat(SECTIONS_MAX + 1);
    assert_eq!(error(many), "t.fio:257: more than 256 job sections");
}

#[test]
fn mixed_block_sizes_are_those_of_fio() {
    let sizes = |text: &str| parse(format!("[j]\n{text}")).expect(text).sizes();
    let range = BlockSizes::Range {
        min: 4 << 10,
        max: 64 << 10,
    };
    // fio takes the ends in either order, and a range over a size wherever they stand.
    assert_eq!(sizes("bsrange=4k-64k"), range);
    assert_eq!(sizes("bsrange=64k-4k\nbs=16k"), range);
    assert_eq!(sizes("blocksize_range=4k - 64k"), range);
    let split = |text: &str| match sizes(&format!("bssplit={text}")) {
        BlockSizes::Split { entries, .. } => entries
            .iter()
            .map(|&(bytes, weight)| (bytes >> 10, weight))
            .collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(split("4k/50:64k/50"), [(4, 50), (64, 50)]);
    assert_eq!(split("4k/50:8k:16k/"), [(4, 50), (8, 25), (16, 25)]);
    assert_eq!(split("4k:8k:16k"), [(4, 33), (8, 33), (16, 33)]);
    // No weight and a weight of zero are the same to fio.
    assert_eq!(split("4k/0:64k/100"), [(4, 0), (64, 100)]);
}

#[test]
fn sections_share_the_file_names_they_inherit() {
    let names = "a:".repeat(2000) + "a";
    let text = format!(
        "[global]\nfilename={names}\n{}",
        "[j]\n".repeat(SECTIONS_MAX)
    );
    let file = parse_all(text).expect("a good file");
    let first = &file.jobs[0].filenames;
    assert_eq!(first.len(), 2001);
    let shared = |job: &Job| Arc::ptr_eq(&job.filenames, first);
    assert!(file.jobs.iter().all(shared));
}

#[test]
fn the_comment_for_the_engine_is_read_wherever_it_stands_and_once() {
    let engine = |text: &str| parse_all(text).expect(text).engine;
    let comment = "; ringfield: page_size=4096 dram_budget=16m queue_depth=32\n";
    let first = engine(&format!("{comment}[j]\nbs=4k"));
    assert_eq!(first.page_size, Some(4096));
    assert_eq!(
        (first.dram_budget, first.queue_depth),
        (Some(16 << 20), Some(32))
    );
    assert_eq!(
        engine(&format!("[j]\nbs=4k\n#ringfield:{}", &comment[12..])),
        first
    );
    assert_eq!(
        engine("# ringfield is quick\n[j]"),
        EngineSettings::default()
    );
    for (text, expected) in [
        (
            format!("{comment}[j]\n{comment}"),
            "t.fio:3: a second comment with settings of the engine",
        ),
        (
            "[j]\nbs=4k ; ringfield: prefetch".to_owned(),
            "t.fio:2: a comment for the engine stands on a line of its own",
        ),
        (
            "[j]\n; ringfield: depth=4".to_owned(),
            "t.fio:2: the engine's setting depth=4: the engine's settings are page_size, \
             dram_budget, queue_depth, backend, inline_reads and huge_pages, a section's is prefetch",
        ),
        (
            "[j]\n# ringfield: queue_depth=0".to_owned(),
            "t.fio:2: the engine's setting queue_depth=0: a number from 1 to 4096 was expected",
        ),
        (
            "[j]\n# ringfield: backend=magic".to_owned(),
            "t.fio:2: the engine's setting backend=magic: auto, uring, pread and mmap are there",
        ),
    ] {
        assert_eq!(error(text), expected);
    }
}

#[test]
fn several_files_are_separated_by_colons() {
    let job = parse("[j]\nfilename=/a/x:/b\\:y:z\nnrfiles=3\nfile_service_type=random")
        .expect("a good job");
    let names: Vec<_> = job.filenames.iter().map(|p| p.to_string_lossy()).collect();
    assert_eq!(names, ["/a/x", "/b:y", "z"]);
    assert!(job.random_file);
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
            "t.fio:2: size=0: a size such as 8g or 50% was expected",
        ),
        (
            "[j]\nsize=99999999999999999999g",
            "t.fio:2: size=99999999999999999999g: a size such as 8g or 50% was expected",
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
            "t.fio:2: [global] after the last job has no effect",
        ),
        (
            "[j]\nbs=4k\n[k]\nbs=4k\ntime_based",
            "t.fio:3: time_based needs a runtime",
        ),
        (
            "[j]\nbsrange=4k",
            "t.fio:2: bsrange=4k: a range such as 4k-64k was expected",
        ),
        (
            "[j]\nbsrange=4k-x",
            "t.fio:2: bsrange=4k-x: a size such as 4k was expected",
        ),
        (
            "[j]\nbssplit=4k/50:8k/60",
            "t.fio:2: bssplit=4k/50:8k/60: the weights add up to more than 100",
        ),
        (
            "[j]\nbssplit=4k/-5:8k",
            "t.fio:2: bssplit=4k/-5:8k: a weight is a number of percent",
        ),
        (
            "[j]\nbssplit=:",
            "t.fio:2: bssplit=:: a size such as 4k was expected",
        ),
        (
            "[j]\nbsrange=4k-8k\nbssplit=4k/50:8k/50",
            "t.fio:1: bsrange and bssplit in one job",
        ),
        (
            "[j]\nrw=read\npercentage_random=50",
            "t.fio:1: percentage_random has no effect on rw=read: \
             it makes a part of rw=randread sequential",
        ),
        (
            "[j]\npercentage_random=101\nrw=randread",
            "t.fio:2: percentage_random=101: a number from 0 to 100 was expected",
        ),
        (
            "[j]\nfilename=a::b",
            "t.fio:2: filename=a::b: a name between two colons is missing",
        ),
        (
            "[j]\nstonewall=2",
            "t.fio:2: stonewall=2: 0 or 1 was expected",
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
    let good = b"[global]\ndirect=1\n[j]\nfilename=a:b\nbs=4k\nsize=1g\nruntime=5s\ntime_based=1\n\
        stonewall\nthinktime=5\nthinktime_blocks=2\noffset=5%\nio_size=9k\n; ringfield: prefetch\n\
        rw=read:8k\n[k]\nrw=randrw:8\nrwmixread=100\nbssplit=4k/50:8k\n[l]\nbsrange=4k-8k,,2k-4k\nsize=50%\n";
    for end in 0..good.len() {
        drop(parse_all(&good[..end]));
        for byte in [0, b'\n', b'[', b'=', b':', 0xff, b'9'] {
            let mut text = good.to_vec();
            text[end] = byte;
            drop(parse_all(text));
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
        let message = JobFile::load(path)
            .expect_err("must be refused")
            .to_string();
        assert!(message.ends_with(expected), "{message}");
    }
}
