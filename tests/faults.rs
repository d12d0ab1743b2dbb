//! What can go wrong underneath ends in a typed error that names the page and the cause, never in wrong bytes, never in a
//! hang; everything beside it still reads right.
#![cfg(test)]

mod child;
mod content;
mod fuse;
mod loop_device;

use child::{Child, skipped};
use content::FieldFile;
use fuse::Fuse;
use loop_device::LoopDevice;
use ringfield::{BackendKind, Engine, EngineBuilder, Error, Fault, Field, View};
use std::ffi::CString;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

const PAGE: u64 = 64 << 10;

/// By callers themselves, through a ring, through threads, and through a mapping.
fn ways() -> [EngineBuilder; 4] {
    let base = || Engine::builder().dram_budget(16 << 20).page_size(PAGE);
    [
        base(),
        base().inline_reads(false),
        base().backend(BackendKind::Pread).inline_reads(false),
        base().backend(BackendKind::Mmap),
    ]
}

fn page_of(error: &Error) -> u64 {
    match error {
        Error::Read { page, offset, .. } if *offset == page * PAGE => *page,
        _ => panic!("{error}"),
    }
}

#[track_caller]
fn check(view: &View<'_>, seed: u64) {
    let end = view.start() + view.len() as u64;
    assert!(view.to_vec() == content::bytes(seed, view.start(), end));
}

/// Fails unless exactly `bad` pages of the first `pages` cannot be read, by all ways of asking.
fn check_bad_pages(field: &Field, seed: u64, pages: u64, bad: impl Fn(u64) -> bool, errno: i32) {
    let ranges: Vec<_> = (0..pages)
        .map(|page| page * PAGE..(page + 1) * PAGE)
        .collect();
    let mut batch = field.engine().batch(pages as usize).unwrap();
    for round in 0..3 {
        for (page, range) in ranges.iter().enumerate() {
            let read = field.read(range.clone());
            if bad(page as u64) {
                let error = read.unwrap_err();
                assert_eq!(page_of(&error), page as u64);
                assert!(matches!(error, Error::Read { fault: Fault::Os(e), .. } if e == errno));
            } else {
                check(&read.unwrap(), seed);
            }
        }
        let many = field.read_many(&ranges, &mut batch);
        assert_eq!(many.is_err(), (0..pages).any(&bad), "round {round}");
        for page in 0..pages {
            match batch.view(page as usize) {
                Ok(view) if !bad(page) => check(&view, seed),
                Err(e) if bad(page) => assert_eq!(page_of(&e), page),
                other => panic!("page {page}: {other:?}"),
            }
        }
        batch.clear();
        // One read over all of them names the first that is bad.
        let wide = field.read(0..pages * PAGE);
        if let Some(first) = (0..pages).find(|&page| bad(page)) {
            assert_eq!(page_of(&wide.unwrap_err()), first);
        }
    }
}

#[test]
fn a_device_that_lost_its_end_fails_the_pages_behind_it_and_no_other() {
    let file = FieldFile::new(32 * PAGE);
    let device = match LoopDevice::over(&file.path) {
        Ok(device) => device,
        Err(why) => skipped!("no loop device: {why}"),
    };
    let engines = ways().map(|way| way.build().unwrap());
    let fields = engines
        .each_ref()
        .map(|engine| engine.open(&device.0).unwrap());
    // Whole pages of the page cache, so that the kernel has nothing to give behind the end.
    std::fs::OpenOptions::new()
        .write(true)
        .open(&file.path)
        .unwrap()
        .set_len(20 * PAGE)
        .unwrap();
    let plain = std::fs::File::open(&device.0).unwrap();
    if plain.read_exact_at(&mut [0; 512], 25 * PAGE).is_ok() {
        skipped!("the loop devices of this kernel have zeros behind the end of their file");
    }
    for (engine, field) in engines.iter().zip(&fields) {
        check_bad_pages(field, file.seed, 32, |page| page >= 20, libc::EIO);
        let stats = engine.stats();
        assert!(stats.failed_pages >= 12, "{stats}");
        assert_eq!(stats.frames_loading, 0);
    }
}

#[test]
fn an_error_inside_a_wide_read_is_narrowed_down_to_its_pages() {
    let fuse = match Fuse::start() {
        Ok(fuse) => fuse,
        Err(why) => skipped!("no FUSE: {why}"),
    };
    for way in ways() {
        let engine = way.build().unwrap();
        let field = engine.open(fuse.file("bad_odd", 24 * PAGE)).unwrap();
        // Adjacent pages go out together, so this read is taken apart.
        assert_eq!(page_of(&field.read(0..24 * PAGE).unwrap_err()), 1);
        let stats = engine.stats();
        assert!(stats.bisections > 0 && stats.failed_pages == 12, "{stats}");
        assert_eq!(stats.frames_resident, 12);
        check_bad_pages(&field, fuse::SEED, 24, |page| page % 2 == 1, libc::EIO);
    }
}

#[test]
fn a_device_that_answers_too_little_is_asked_again_until_the_page_is_whole() {
    let fuse = match Fuse::start() {
        Ok(fuse) => fuse,
        Err(why) => skipped!("no FUSE: {why}"),
    };
    for way in ways() {
        let engine = way.build().unwrap();
        let len = 10 * PAGE + 12_345;
        let field = engine.open(fuse.file("short", len)).unwrap();
        for (start, end) in [(0, len), (3 * PAGE + 1, 5 * PAGE), (len - 1, len)] {
            check(&field.read(start..end).unwrap(), fuse::SEED);
        }
        assert!(engine.stats().retries > 0);
    }
}

#[test]
fn a_file_truncated_underneath_is_an_error_and_never_zeros() {
    for way in ways() {
        for new_len in [0, 1, 5 * PAGE, 5 * PAGE + 1, 5 * PAGE + 4096, 9 * PAGE + 99] {
            let file = FieldFile::new(9 * PAGE + 100);
            let engine = way.clone().build().unwrap();
            let field = engine.open(&file.path).unwrap();
            assert_eq!(
                engine
                    .report()
                    .rows()
                    .iter()
                    .filter(|row| row.item.ends_with("content"))
                    .count(),
                0
            );
            std::fs::OpenOptions::new()
                .write(true)
                .open(&file.path)
                .unwrap()
                .set_len(new_len)
                .unwrap();
            for page in 0..10 {
                let end = ((page + 1) * PAGE).min(file.len);
                match field.read(page * PAGE..end) {
                    Ok(view) => {
                        assert!(end <= new_len, "page {page} of a file of {new_len} bytes");
                        file.check(&view);
                    }
                    Err(Error::FileChanged { what, .. }) => {
                        assert!(end > new_len);
                        assert!(what.contains(&new_len.to_string()), "{what}");
                    }
                    Err(e) => panic!("{e}"),
                }
            }
            let report = engine.report();
            let row = report.degraded().find(|row| row.item.ends_with("content"));
            assert!(row.unwrap().why.contains("length"));
        }
    }
}

#[test]
fn a_file_that_grew_written_to_or_replaced_is_reported_and_opened_anew() {
    let file = FieldFile::new(3 * PAGE + 100);
    let changed = |engine: &Engine| {
        let report = engine.report();
        let row = report
            .degraded()
            .find(|row| row.item.ends_with("content"))
            .cloned();
        row.map(|row| row.why.to_string())
    };

    let engine = Engine::builder().dram_budget(16 << 20).build().unwrap();
    let field = engine.open(&file.path).unwrap();
    file.check(&field.read(0..PAGE).unwrap());
    assert_eq!(changed(&engine), None);
    let writer = std::fs::OpenOptions::new()
        .write(true)
        .open(&file.path)
        .unwrap();
    // The clock of file times may be as coarse as a tick.
    std::thread::sleep(Duration::from_millis(20));
    writer.write_all_at(b"!", PAGE).unwrap();
    assert!(changed(&engine).unwrap().contains("written to"));
    // A new open is a new field: it shares nothing with the old content.
    let again = engine.open(&file.path).unwrap();
    assert_eq!(again.read(PAGE..PAGE + 1).unwrap().to_vec(), b"!");

    let engine = Engine::builder().dram_budget(16 << 20).build().unwrap();
    let field = engine.open(&file.path).unwrap();
    writer.write_all_at(&[1; 50_000], file.len).unwrap();
    assert!(changed(&engine).unwrap().contains("length"));
    // The last page has bytes now that were not there.
    let error = field.read(3 * PAGE..file.len).unwrap_err();
    assert!(matches!(error, Error::FileChanged { .. }), "{error}");

    // Replaced by name: the field goes on with what it opened.
    let engine = Engine::builder().dram_budget(16 << 20).build().unwrap();
    let field = engine.open(&file.path).unwrap();
    let old = field.read(0..100).unwrap().to_vec();
    let other = file.path.with_extension("new");
    std::fs::write(&other, vec![9u8; 3 * PAGE as usize]).unwrap();
    std::fs::rename(&other, &file.path).unwrap();
    assert!(changed(&engine).is_some());
    assert_eq!(
        field.read(2 * PAGE..2 * PAGE + 5).unwrap().to_vec(),
        file.bytes(2 * PAGE, 2 * PAGE + 5)
    );
    assert_eq!(field.read(0..100).unwrap().to_vec(), old);
    let new = engine.open(&file.path).unwrap();
    assert_eq!(
        (new.len(), new.read(0..2).unwrap().to_vec()),
        (3 * PAGE, vec![9, 9])
    );
}

/// Opens `path` on a thread and gives up after a while.
fn open_with_patience(engine: &Engine, path: &Path) -> Error {
    let (send, receive) = mpsc::channel();
    let (engine, path) = (engine.clone(), path.to_path_buf());
    std::thread::spawn(move || send.send(engine.open(&path).map(drop)));
    let opened = receive.recv_timeout(Duration::from_secs(5));
    opened.expect("open blocked").unwrap_err()
}

#[test]
fn what_is_no_file_is_refused_by_name_and_without_blocking() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let engine = Engine::builder().dram_budget(16 << 20).build().unwrap();
    let fifo = CString::new(at("fifo").as_os_str().as_encoded_bytes()).unwrap();
    // SAFETY: the path is a NUL-terminated string.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    std::os::unix::fs::symlink(at("fifo"), at("link")).unwrap();
    std::os::unix::fs::symlink(at("circle"), at("circle")).unwrap();
    for (path, what) in [
        (at("fifo"), "a FIFO"),
        (at("link"), "a FIFO"),
        (at("socket"), "a socket"),
        (dir.path().into(), "a directory"),
        ("/dev/null".into(), "a character device"),
        ("/dev/tty".into(), "a character device"),
    ] {
        let error = open_with_patience(&engine, &path);
        assert_eq!(error, Error::NotAFile { path, kind: what });
    }
    for (path, errno) in [
        (at("nothing"), libc::ENOENT),
        (at("socket").join("below"), libc::ENOTDIR),
        (at("circle"), libc::ELOOP),
        ("".into(), libc::ENOENT),
        (at(&"x".repeat(300)), libc::ENAMETOOLONG),
    ] {
        let error = open_with_patience(&engine, &path);
        assert_eq!(error, Error::Open { path, errno });
    }
    assert_eq!(engine.stats().metadata_left_bytes, {
        let fresh = Engine::builder().dram_budget(16 << 20).build().unwrap();
        fresh.stats().metadata_left_bytes
    });
}

#[test]
fn a_file_without_permission_is_refused_by_name() {
    if let Some(dir) = child::part() {
        if child::is_root() {
            assert!(child::become_nobody());
        }
        let engine = Engine::builder().dram_budget(8 << 20).build().unwrap();
        for name in ["secret", "closed/field"] {
            let path = Path::new(&dir).join(name);
            let error = open_with_patience(&engine, &path);
            let errno = libc::EACCES;
            assert_eq!(error, Error::Open { path, errno });
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let allow = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::write(at("secret"), b"secret").unwrap();
    std::fs::create_dir(at("closed")).unwrap();
    allow(dir.path(), 0o755);
    allow(&at("secret"), 0);
    allow(&at("closed"), 0);
    Child::new(
        "a_file_without_permission_is_refused_by_name",
        &dir.path().display().to_string(),
    )
    .run();
    // So that the directory can be removed.
    allow(&at("closed"), 0o755);
}

#[test]
fn interrupted_and_refused_system_calls_do_not_change_what_is_read() {
    const NAME: &str = "interrupted_and_refused_system_calls_do_not_change_what_is_read";
    if let Some(part) = child::part() {
        let file = FieldFile::new(4 << 20);
        let backend = match part.split(':').next() {
            Some("preadv") => BackendKind::Pread,
            Some("process_vm_readv") => BackendKind::Mmap,
            _ => BackendKind::Auto,
        };
        for inline in [false, true] {
            let engine = Engine::builder()
                .dram_budget(8 << 20)
                .page_size(16 << 10)
                .backend(backend)
                .inline_reads(inline)
                .build()
                .unwrap();
            let field = engine.open(&file.path).unwrap();
            file.check_all(&field, 50_000);
            let ranges: Vec<_> = (0..32).map(|k| k * 99_999..k * 99_999 + 30_000).collect();
            let mut batch = engine.batch(32).unwrap();
            field.read_many(&ranges, &mut batch).unwrap();
            (0..32).for_each(|k| file.check(&batch.view(k).unwrap()));
            // An interruption is no trouble of the ring.
            let report = engine.report();
            assert!(
                !report
                    .rows()
                    .iter()
                    .any(|row| row.item.ends_with("submissions"))
            );
            if part == "io_uring_setup:error=ENOMEM" {
                let row = report
                    .degraded()
                    .find(|row| row.item.ends_with("backend"))
                    .unwrap();
                assert!(!row.why.is_empty() && !row.fix.is_empty());
            }
        }
        return;
    }
    let strace = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status();
    if !strace.is_ok_and(|status| status.success()) {
        skipped!("strace cannot trace here");
    }
    for injection in [
        "io_uring_enter:error=EINTR:when=1+2",
        "io_uring_enter:error=EAGAIN:when=2+3",
        "io_uring_enter:error=EBUSY:when=5+2",
        "io_uring_register:error=ENOMEM:when=1+1",
        "io_uring_setup:error=ENOMEM",
        "preadv:error=EINTR:when=1+2",
        "preadv:error=EAGAIN:when=1+3",
        "preadv:error=ENOMEM:when=3+4",
        "process_vm_readv:error=EINTR:when=1+2",
        "process_vm_readv:error=ENOMEM:when=3+4",
    ] {
        let call = injection.split(':').next().unwrap();
        let (trace, inject) = (format!("trace={call}"), format!("inject={injection}"));
        Child::new(NAME, injection)
            .under(&[
                "strace",
                "-f",
                "-o",
                "/dev/null",
                "-e",
                &trace,
                "-e",
                &inject,
            ])
            .run();
    }
}
