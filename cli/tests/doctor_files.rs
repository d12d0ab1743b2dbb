//! `ringfield doctor` of a path that is on no local disk: what lies there is named with where to go instead, nothing
//! else is called lost, and a model reads right all the same.
#![cfg(test)]

#[path = "../../tests/child/mod.rs"]
mod child;
#[path = "../../tests/content/mod.rs"]
mod content;
#[path = "../../tests/fuse/mod.rs"]
mod fuse;
mod restricted;
#[path = "../../tests/seccomp/mod.rs"]
mod seccomp;

use child::skipped;
use fuse::Fuse;
use restricted::{Doctor, Machine, is_root, model_in, model_on_disk};
use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;

fn on_disk() -> Doctor {
    Machine::unrestricted().doctor(Path::new(env!("CARGO_TARGET_TMPDIR")))
}

#[test]
fn memory_is_named_as_no_disk() {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
        skipped!("no /dev/shm");
    };
    let (dir, model) = model_in(dir);
    let machine = Machine::unrestricted();
    let doctor = machine.doctor(dir.path());
    doctor.lost(&["file system"], &on_disk());
    let row = doctor.row("file system");
    assert_eq!(row.requested, "a local disk");
    assert!(row.granted.starts_with("tmpfs on "), "{row:?}");
    assert_eq!(row.why, "it is memory, not a disk");
    assert!(row.fix.contains("on a disk"), "{row:?}");
    assert_eq!(machine.verify(&model).len(), 3);
}

#[test]
fn a_containers_layers_are_named_with_how_to_get_around_them() {
    if !is_root() {
        skipped!("only root can mount");
    }
    let (lower, model) = model_on_disk();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    for name in ["upper", "work", "merged"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    let lower = lower.path().display();
    let layers = format!(
        "lowerdir={lower},upperdir={},workdir={}",
        at("upper"),
        at("work")
    );
    let (layers, merged) = (
        CString::new(layers).unwrap(),
        CString::new(at("merged")).unwrap(),
    );
    let machine = Machine::that(move |command| {
        let (layers, merged) = (layers.clone(), merged.clone());
        // SAFETY: `mount_overlay` makes system calls and allocates nothing.
        unsafe { command.pre_exec(move || mount_overlay(&layers, &merged)) };
    });
    let merged = dir.path().join("merged");
    if let Err(why) = machine.run(&["doctor"], &merged) {
        skipped!("overlayfs cannot be mounted: {why}");
    }
    let doctor = machine.doctor(&merged);
    doctor.lost(&["file system"], &on_disk());
    let row = doctor.row("file system");
    assert_eq!(row.requested, "a local disk");
    assert!(row.granted.starts_with("overlay on "), "{row:?}");
    assert!(row.why.contains("container's layers"), "{row:?}");
    assert!(row.fix.contains("volume") && row.fix.contains("docker run -v"));
    let model = merged.join(model.file_name().unwrap());
    assert_eq!(machine.verify(&model).len(), 3);
    // What the doctor made is gone from the layer that it was made in.
    assert_eq!(fs::read_dir(dir.path().join("upper")).unwrap().count(), 0);
}

/// Mounts the layers where only this process and what it executes see them.
fn mount_overlay(layers: &CStr, merged: &CStr) -> io::Result<()> {
    // SAFETY: `unshare` takes an integer.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    mount(c"none", c"/", libc::MS_REC | libc::MS_PRIVATE, c"")?;
    mount(c"overlay", merged, 0, layers)
}

fn mount(kind: &CStr, at: &CStr, flags: libc::c_ulong, options: &CStr) -> io::Result<()> {
    // SAFETY: all are NUL-terminated strings that outlive the call.
    let rc = unsafe {
        libc::mount(
            kind.as_ptr(),
            at.as_ptr(),
            kind.as_ptr(),
            flags,
            options.as_ptr().cast(),
        )
    };
    match rc {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[test]
fn a_file_system_without_direct_reads_is_named_with_those_that_have_them() {
    let fuse = match Fuse::start() {
        Ok(fuse) => fuse,
        Err(why) => skipped!("no FUSE: {why}"),
    };
    let machine = Machine::unrestricted();
    let path = fuse.file("buffered", 1_000_003);
    let doctor = machine.doctor(&path);
    let lost = ["file system", "direct I/O"];
    doctor.lost(&lost, &on_disk());
    let row = doctor.row("file system");
    assert!(row.granted.starts_with("fuse on "), "{row:?}");
    assert!(row.why.contains("another process") && row.fix.contains("local disk"));
    let row = doctor.row("direct I/O");
    assert_eq!(row.granted, "no: reads go through the page cache");
    assert_eq!(row.why, "the file system refused O_DIRECT");
    assert!(row.fix.contains("ext4, xfs"), "{row:?}");
}
