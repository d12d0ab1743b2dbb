//! Where the machine grants less, everything still reads right, and the report says what is missing, why, and what to do.
//! Where the host insists, it gets a typed error instead.
#![cfg(test)]

mod child;
mod content;
mod fuse;
mod io_uring_switch;
mod seccomp;

use child::{Child, skipped};
use content::FieldFile;
use fuse::Fuse;
use io_uring_switch::Turned;
use ringfield::{BackendKind, Engine, EngineBuilder, Error, HugePages, Poll, ReportRow};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A file that any user can read.
fn public_file(len: u64) -> FieldFile {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    FieldFile::in_dir(dir, len)
}

fn small() -> EngineBuilder {
    Engine::builder().dram_budget(16 << 20).page_size(16 << 10)
}

/// Fails unless the engine reads `path` right in all ways; returns the report's degraded rows, each of which must say why
/// and what to do.
#[track_caller]
fn degraded(engine: &Engine, path: &Path, seed: u64, len: u64) -> Vec<ReportRow> {
    let field = engine.open(path).unwrap();
    let mut batch = engine.batch(16).unwrap();
    for round in 0..2 {
        let step = len / 16;
        let ranges: Vec<_> = (0..16).map(|k| k * step..k * step + step / 3).collect();
        field.read_many(&ranges, &mut batch).unwrap();
        for (k, range) in ranges.iter().enumerate() {
            let view = batch.view(k).unwrap();
            assert!(
                view.to_vec() == content::bytes(seed, range.start, range.end),
                "{round}"
            );
        }
        batch.clear();
        for start in (0..len).step_by(len as usize / 40) {
            let end = len.min(start + 20_000);
            assert!(field.read(start..end).unwrap().to_vec() == content::bytes(seed, start, end));
        }
    }
    let rows: Vec<ReportRow> = engine.report().degraded().cloned().collect();
    for row in &rows {
        assert!(!row.why.is_empty() && !row.fix.is_empty(), "{row:?}");
    }
    // The printed report says the same.
    let text = engine.report().to_string();
    assert!(
        rows.iter()
            .all(|row| text.contains(&*row.why) && text.contains(&*row.fix))
    );
    rows
}

fn row<'r>(rows: &'r [ReportRow], item: &str) -> Option<&'r ReportRow> {
    rows.iter().find(|row| row.item.ends_with(item))
}

#[test]
fn io_uring_refused_by_seccomp_degrades_to_pread_and_an_insisting_host_gets_an_error() {
    const NAME: &str =
        "io_uring_refused_by_seccomp_degrades_to_pread_and_an_insisting_host_gets_an_error";
    let all = seccomp::IO_URING;
    let parts: [(&str, &[libc::c_long], i32); 5] = [
        ("EPERM", &all, libc::EPERM),
        ("ENOSYS", &all, libc::ENOSYS),
        ("EACCES on setup", &all[..1], libc::EACCES),
        ("EPERM on enter", &all[1..2], libc::EPERM),
        ("EPERM on register", &all[2..], libc::EPERM),
    ];
    let Some(part) = child::part() else {
        for (part, ..) in parts {
            Child::new(NAME, part).run();
        }
        return;
    };
    let file = FieldFile::new(3 << 20);
    let &(_, calls, errno) = parts.iter().find(|(name, ..)| *name == part).unwrap();
    seccomp::install(&seccomp::without(calls, errno)).unwrap();
    let engine = small().build().unwrap();
    let rows = degraded(&engine, &file.path, file.seed, file.len);
    if part == "EPERM on register" {
        // The ring works without anything registered in it.
        if let Some(backend) = row(&rows, ": backend") {
            skipped!("io_uring is refused here anyway: {}", backend.why);
        }
        assert!(row(&rows, "registered buffers").is_some());
        assert!(row(&rows, "registered files").is_some());
        return;
    }
    let backend = row(&rows, ": backend").unwrap();
    assert_eq!(
        (&*backend.requested, &*backend.granted),
        ("io_uring", "pread")
    );
    let cause = std::io::Error::from_raw_os_error(errno).to_string();
    assert!(backend.why.contains(&cause), "{}", backend.why);

    let insisting = small().backend(BackendKind::Uring).build().unwrap();
    let left = insisting.stats().metadata_left_bytes;
    for _ in 0..3 {
        let error = insisting.open(&file.path).unwrap_err();
        assert!(
            matches!(error, Error::Os { errno: e, .. } if e == errno),
            "{error}"
        );
        assert!(error.to_string().contains("Uring"), "{error}");
    }
    // A refused open costs nothing.
    assert_eq!(insisting.stats().metadata_left_bytes, left);
}

#[test]
fn io_uring_refused_by_the_sysctl_degrades_to_pread() {
    const NAME: &str = "io_uring_refused_by_the_sysctl_degrades_to_pread";
    if let Some(part) = child::part() {
        let (path, len) = part.split_once('\n').unwrap();
        let len: u64 = len.parse().unwrap();
        assert!(child::become_nobody());
        let engine = small().build().unwrap();
        let rows = degraded(&engine, Path::new(path), len ^ 0x5eed, len);
        let backend = row(&rows, ": backend").unwrap();
        assert_eq!(&*backend.granted, "pread");
        assert!(
            backend.fix.contains("kernel.io_uring_disabled"),
            "{}",
            backend.fix
        );
        return;
    }
    let file = public_file(2 << 20);
    let child = Child::new(NAME, &format!("{}\n{}", file.path.display(), file.len));
    // 1 refuses unprivileged processes only: nobody else on this machine is disturbed.
    let _turned = match Turned::to(1) {
        Ok(turned) => turned,
        Err(why) => skipped!("{why}"),
    };
    child.limit(Duration::from_secs(20)).run();
}

#[test]
fn an_unprivileged_user_with_little_lockable_memory_reads_right_and_is_told() {
    const NAME: &str = "an_unprivileged_user_with_little_lockable_memory_reads_right_and_is_told";
    if let Some(part) = child::part() {
        let (path, len) = part.split_once('\n').unwrap();
        let (path, len) = (Path::new(path), len.parse::<u64>().unwrap());
        let limit = libc::rlimit {
            rlim_cur: 8 << 20,
            rlim_max: 8 << 20,
        };
        // SAFETY: the limit is a valid rlimit.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) }, 0);
        assert!(child::become_nobody());
        let seed = len ^ 0x5eed;
        for huge in [HugePages::Auto, HugePages::Off] {
            let engine = small()
                .dram_budget(32 << 20)
                .huge_pages(huge)
                .nice(-10)
                .build()
                .unwrap();
            let rows = degraded(&engine, path, seed, len);
            let nice = row(&rows, "nice level").unwrap();
            assert!(nice.requested == "-10" && nice.fix.contains("ulimit -e"));
            let locked = row(&rows, "pool kept resident").unwrap();
            assert!(locked.fix.contains("ulimit -l"));
            if let Some(backend) = row(&rows, ": backend") {
                skipped!("unprivileged users have no io_uring here: {}", backend.why);
            }
            let registered = row(&rows, "registered buffers").unwrap();
            assert!(registered.why.contains("8192 KiB"), "{}", registered.why);
        }
        // A pool that fits is registered, again and again: what a dropped engine had is given back.
        for _ in 0..20 {
            let engine = small().dram_budget(7 << 20).build().unwrap();
            let rows = degraded(&engine, path, seed, len);
            assert!(
                row(&rows, "registered buffers").is_none(),
                "{}",
                engine.report()
            );
            assert!(
                row(&rows, "pool kept resident").is_none(),
                "{}",
                engine.report()
            );
        }
        return;
    }
    if !child::is_root() {
        skipped!("only root can become another user");
    }
    let _switch = io_uring_switch::left_alone();
    let file = public_file(2 << 20);
    Child::new(NAME, &format!("{}\n{}", file.path.display(), file.len)).run();
}

#[test]
fn without_huge_pages_the_pool_is_plain_and_the_report_says_so() {
    const NAME: &str = "without_huge_pages_the_pool_is_plain_and_the_report_says_so";
    let Some(part) = child::part() else {
        Child::new(NAME, "explicit").run();
        Child::new(NAME, "all").run();
        return;
    };
    let file = FieldFile::new(2 << 20);
    seccomp::install(&seccomp::without_explicit_huge_pages()).unwrap();
    if part == "all" {
        // SAFETY: PR_SET_THP_DISABLE takes integers.
        let rc = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
        assert_eq!(rc, 0);
    }
    for huge in [HugePages::Auto, HugePages::Explicit, HugePages::Transparent] {
        let engine = small().huge_pages(huge).build().unwrap();
        let rows = degraded(&engine, &file.path, file.seed, file.len);
        let row = row(&rows, "huge pages");
        match (&*part, huge) {
            ("all", _) => assert_eq!(row.unwrap().granted, "plain pages"),
            (_, HugePages::Explicit) => assert_ne!(row.unwrap().granted, "explicit 2 MiB pages"),
            // Whether transparent ones are to be had is the machine's choice.
            _ => {}
        }
    }
}

#[test]
fn a_low_limit_of_open_files_costs_registration_and_nothing_else() {
    const NAME: &str = "a_low_limit_of_open_files_costs_registration_and_nothing_else";
    child::alone(NAME, || {
        let file = FieldFile::new(2 << 20);
        let limit = libc::rlimit {
            rlim_cur: 64,
            rlim_max: 64,
        };
        // SAFETY: the limit is a valid rlimit.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
        let engine = small().build().unwrap();
        let rows = degraded(&engine, &file.path, file.seed, file.len);
        if row(&rows, ": backend").is_none() {
            assert!(
                row(&rows, "registered files")
                    .unwrap()
                    .fix
                    .contains("ulimit -n")
            );
        }
        // With none left an open fails and says so; what is open goes on.
        let field = engine.open(&file.path).unwrap();
        let mut taken = Vec::new();
        while let Ok(file) = fs::File::open("/dev/null") {
            taken.push(file);
        }
        let other = file.path.with_extension("other");
        let error = engine.open(&other).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Open {
                    errno: libc::EMFILE,
                    ..
                }
            ),
            "{error}"
        );
        file.check(&field.read(0..30_000).unwrap());
    });
}

#[test]
fn a_file_in_memory_reads_right() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
        skipped!("no /dev/shm");
    };
    let file = FieldFile::in_dir(dir, 3_000_001);
    for backend in [BackendKind::Auto, BackendKind::Pread, BackendKind::Mmap] {
        let engine = small().backend(backend).build().unwrap();
        degraded(&engine, &file.path, file.seed, file.len);
        let options = ringfield::OpenOptions::new().extent(77_777).extent_base(5);
        file.check_all(&engine.open_with(&file.path, options).unwrap(), 50_000);
    }
}

#[test]
fn a_file_in_a_containers_layers_reads_right() {
    const NAME: &str = "a_file_in_a_containers_layers_reads_right";
    if child::part().is_none() {
        if !child::is_root() {
            skipped!("only root can mount");
        }
        // Mounted in a process of its own, where nobody else sees it.
        return Child::new(NAME, "all").under(&["unshare", "--mount"]).run();
    }
    let file = FieldFile::new(3_000_001);
    let lower = file.path.parent().unwrap();
    let dir = tempfile::tempdir_in(lower.parent().unwrap()).unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    for name in ["upper", "work", "merged"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    let layers = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        at("upper"),
        at("work")
    );
    let mounted = Command::new("mount")
        .args(["-t", "overlay", "overlay", "-o", &layers, &at("merged")])
        .output()
        .unwrap();
    if !mounted.status.success() {
        let why = String::from_utf8_lossy(&mounted.stderr).trim().to_owned();
        skipped!("overlayfs cannot be mounted: {why}");
    }
    let path = dir.path().join("merged/field");
    for backend in [BackendKind::Auto, BackendKind::Pread, BackendKind::Mmap] {
        let engine = small().backend(backend).build().unwrap();
        degraded(&engine, &path, file.seed, file.len);
        // No disk of its own: a loop for this mount, whose depth is nobody's to limit.
        let report = engine.report();
        let depth = report
            .rows()
            .iter()
            .find(|row| row.item.ends_with("queue depth"));
        assert!(depth.unwrap().item.starts_with("0:"), "{report}");
    }
    let unmounted = Command::new("umount").arg(at("merged")).status();
    assert!(unmounted.unwrap().success());
}

#[test]
fn a_file_system_that_refuses_direct_reads_is_read_through_the_page_cache_and_the_report_says_so() {
    let fuse = match Fuse::start() {
        Ok(fuse) => fuse,
        Err(why) => skipped!("no FUSE: {why}"),
    };
    let len = 1_000_003;
    let path = fuse.file("buffered", len);
    for backend in [BackendKind::Auto, BackendKind::Pread, BackendKind::Mmap] {
        let engine = small().backend(backend).build().unwrap();
        let field = engine.open(&path).unwrap();
        assert!(!field.is_direct());
        let rows = degraded(&engine, &path, fuse::SEED, len);
        // A mapping wants no direct reads, and this file can be mapped.
        let direct = row(&rows, "direct I/O");
        if backend == BackendKind::Mmap {
            assert!(direct.is_none() && row(&rows, "mapping").is_none());
        } else {
            assert!(direct.unwrap().granted.contains("page cache"));
        }
    }
}

#[test]
fn a_file_that_cannot_be_mapped_is_read_all_the_same_and_the_report_says_so() {
    let fuse = match Fuse::start() {
        Ok(fuse) => fuse,
        Err(why) => skipped!("no FUSE: {why}"),
    };
    let len = 1_000_003;
    let path = fuse.file("plain", len);
    let engine = small().backend(BackendKind::Mmap).build().unwrap();
    let rows = degraded(&engine, &path, fuse::SEED, len);
    let mapping = row(&rows, "mapping").unwrap();
    assert!(mapping.granted.contains("preadv"), "{}", engine.report());
}

#[test]
fn modes_that_a_device_may_lack_read_right_and_are_reported_when_lacking() {
    let file = FieldFile::new(2 << 20);
    let sqpoll = || small().sqpoll(Some(Duration::from_millis(5)));
    for (name, builder) in [
        ("IOPOLL", small().poll(Poll::IoPoll)),
        ("HYBRID_IOPOLL", small().poll(Poll::Hybrid)),
        ("SQPOLL", sqpoll()),
        ("both", sqpoll().poll(Poll::IoPoll)),
    ] {
        let engine = builder.build().unwrap();
        degraded(&engine, &file.path, file.seed, file.len);
        let report = engine.report().to_string();
        if !report.contains("io_uring_setup:") {
            // Either in force or named as lost.
            assert!(
                name == "SQPOLL" || report.contains("IOPOLL"),
                "{name}:\n{report}"
            );
            assert!(
                name.ends_with("IOPOLL") || report.contains("SQPOLL"),
                "{name}:\n{report}"
            );
            assert!(
                name != "HYBRID_IOPOLL" || report.contains(name),
                "{name}:\n{report}"
            );
        }
    }
}

#[test]
fn processors_that_do_not_exist_and_queues_deeper_than_the_device_are_reported() {
    let file = FieldFile::new(2 << 20);
    let engine = small().cpu_affinity(&[9999]).build().unwrap();
    let rows = degraded(&engine, &file.path, file.seed, file.len);
    assert!(
        row(&rows, "cpu affinity")
            .unwrap()
            .requested
            .contains("9999")
    );

    let engine = small()
        .dram_budget(32 << 20)
        .metadata_budget(16 << 20)
        .queue_depth(4096);
    let engine = engine.build().unwrap();
    let rows = degraded(&engine, &file.path, file.seed, file.len);
    if let Some(depth) = row(&rows, "queue depth") {
        assert!(depth.requested == "4096" && depth.granted.parse::<u32>().unwrap() < 4096);
    }
}

/// The nice levels of this process's submission loops (field 19 of proc_pid_stat(5)).
fn nice_levels_of_loops() -> Vec<i32> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok())
        .filter(|stat| stat.contains("(ringfield-"))
        .map(|stat| {
            let behind_name = stat.rsplit(") ").next().unwrap();
            behind_name.split(' ').nth(16).unwrap().parse().unwrap()
        })
        .collect()
}

#[test]
fn a_nice_level_is_that_of_the_loops_alone() {
    const NAME: &str = "a_nice_level_is_that_of_the_loops_alone";
    if child::part().is_none() {
        return Child::new(NAME, "alone").run();
    }
    let file = FieldFile::new(2 << 20);
    for backend in [BackendKind::Auto, BackendKind::Pread, BackendKind::Mmap] {
        let engine = small().nice(7).backend(backend).build().unwrap();
        let rows = degraded(&engine, &file.path, file.seed, file.len);
        assert!(row(&rows, "nice level").is_none(), "{}", engine.report());
        let levels = nice_levels_of_loops();
        assert!(!levels.is_empty() && levels.iter().all(|&level| level == 7));
        // SAFETY: getpriority takes no pointers; who 0 is the calling thread.
        assert_eq!(unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }, 0);
    }
    for level in [-21, 20] {
        let refused = small().nice(level).build();
        assert!(matches!(
            refused,
            Err(Error::InvalidOption { option: "nice", .. })
        ));
    }
}
