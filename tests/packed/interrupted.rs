//! Packing that does not come to its end: nothing under the names of the members, or all of it.

use crate::child::{Child, is_root, part, skipped};
use crate::made::{Made, TensorOf, builder, engine, gguf, listed, quick_dir};
use ringfield::{Error, Fault, Pack, PackedField, TensorType};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PAGE: u64 = 4096;
const DIR: &str = "RINGFIELD_TEST_DIR";

fn model() -> crate::writer::GgufFile {
    let tensors: [TensorOf<'_>; 2] = [
        ("token_embd.weight", &[256, 900], TensorType::F32),
        ("blk.0.ffn_up_exps.weight", &[64, 10, 100], TensorType::F32),
    ];
    gguf(&tensors, 3, None)
}

fn members(dir: &Path, count: usize) -> Vec<PathBuf> {
    (0..count).map(|k| dir.join(format!("{k}.rf"))).collect()
}

/// A directory on a disk: what is written there takes its time.
fn disk_dir() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// What a killed process left is nothing, or members that are whole each; all of them are the field. What is no member is
/// refused where `named` ones may be left. True where the field is there.
fn check_left(dir: &Path, model: &[u8], count: usize) -> bool {
    let names = listed(dir);
    let paths = members(dir, count);
    let there: Vec<&PathBuf> = paths.iter().filter(|path| path.exists()).collect();
    let others = names.iter().filter(|name| !name.ends_with(".rf"));
    assert_eq!(others.collect::<Vec<_>>(), ["model.gguf"], "no leftovers");
    let engine = engine(PAGE);
    if there.is_empty() {
        return false;
    }
    match engine.open_array(&there) {
        Ok(field) => {
            assert_eq!(there.len(), count);
            let out = quick_dir();
            let packed = PackedField::of(field).unwrap();
            let paths = packed.unpack(out.path(), false, |_| true).unwrap();
            assert!(std::fs::read(&paths[0]).unwrap() == model);
            true
        }
        // Killed between two names: each is whole, and says that there are more.
        Err(Error::MissingMember { members, .. }) => {
            assert!(there.len() < count && members as usize == count);
            false
        }
        Err(e) => panic!("{names:?}: {e}"),
    }
}

#[test]
fn a_killed_packer_leaves_nothing_or_a_whole_field() {
    if let Some(count) = part() {
        let dir = PathBuf::from(std::env::var(DIR).unwrap());
        println!("packing");
        let pack = Pack::new([dir.join("model.gguf")]).page_size(PAGE);
        pack.run(members(&dir, count.parse().unwrap()), |_| true)
            .unwrap();
        return;
    }
    let model = model().bytes();
    let (mut whole, mut nothing) = (0, 0);
    for count in [1usize, 3] {
        let dir = disk_dir();
        std::fs::write(dir.path().join("model.gguf"), &model).unwrap();
        let child = |part: &str| {
            let test = "interrupted::a_killed_packer_leaves_nothing_or_a_whole_field";
            let child = Child::new(test, part).env(DIR, &dir.path().to_string_lossy());
            let mut command = child.command();
            command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null());
            command.spawn().unwrap()
        };
        // How long one takes that is not killed.
        let started = Instant::now();
        assert!(child(&count.to_string()).wait().unwrap().success());
        let took = started.elapsed();
        assert!(check_left(dir.path(), &model, count));
        let mut random = crate::content::Random(count as u64 + 77);
        for _ in 0..100 {
            for path in members(dir.path(), count) {
                let _ = std::fs::remove_file(path);
            }
            let mut process = child(&count.to_string());
            let moment = took.as_nanos() as u64 * random.below(1200) / 1000;
            std::thread::sleep(Duration::from_nanos(moment));
            let _ = process.kill();
            process.wait().unwrap();
            match check_left(dir.path(), &model, count) {
                true => whole += 1,
                false => nothing += 1,
            }
        }
    }
    println!("{whole} whole, {nothing} not");
    assert!(nothing > 20, "{whole} whole, {nothing} not");
}

/// A file system of so many bytes over a file; gone on drop.
struct SmallDisk {
    mounted: PathBuf,
    _dir: tempfile::TempDir,
}

impl SmallDisk {
    fn new(kib: u64, kind: &str) -> Result<SmallDisk, String> {
        let dir = disk_dir();
        let (image, mounted) = (dir.path().join("image"), dir.path().join("mounted"));
        std::fs::create_dir(&mounted).unwrap();
        let run = |command: &mut Command| -> Result<(), String> {
            let done = command.output().map_err(|e| format!("{command:?}: {e}"))?;
            match done.status.success() {
                true => Ok(()),
                false => Err(String::from_utf8_lossy(&done.stderr).trim().to_string()),
            }
        };
        if kind == "tmpfs" {
            let size = format!("size={kib}k");
            run(Command::new("mount")
                .args(["-t", "tmpfs", "-o", &size, "none"])
                .arg(&mounted))?;
        } else {
            std::fs::File::create(&image)
                .unwrap()
                .set_len(kib << 10)
                .unwrap();
            run(Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image))?;
            run(Command::new("mount")
                .args(["-o", "loop"])
                .arg(&image)
                .arg(&mounted))?;
        }
        Ok(SmallDisk { mounted, _dir: dir })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.mounted).status();
    }
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    if !is_root() {
        skipped!("only root can mount");
    }
    let source_dir = quick_dir();
    let source = source_dir.path().join("model.gguf");
    let model = model().bytes();
    std::fs::write(&source, &model).unwrap();
    // ext4 allocates ahead; ext2 cannot, and finds out while it writes; tmpfs has no O_DIRECT everywhere.
    for kind in ["ext4", "ext2", "tmpfs"] {
        let disk = match SmallDisk::new(1024, kind) {
            Ok(disk) => disk,
            Err(why) => skipped!("no loop device: {kind}: {why}"),
        };
        let kept = listed(&disk.mounted);
        for count in [1, 2] {
            let paths = members(&disk.mounted, count);
            let packed = Pack::new([&source]).page_size(PAGE).run(&paths, |_| true);
            match packed.unwrap_err() {
                Error::Create {
                    path,
                    errno: libc::ENOSPC,
                } => assert!(paths.contains(&path)),
                Error::Write {
                    path,
                    fault: Fault::Os(libc::ENOSPC),
                    ..
                } => {
                    assert!(paths.contains(&path));
                }
                e => panic!("{kind}: {e:?}"),
            }
            assert_eq!(listed(&disk.mounted), kept, "{kind}");
        }
        // Unpacking onto it, too; and one that was there before stays.
        let made = Made::new(&self::model(), 1, PAGE);
        let old = disk.mounted.join("model.gguf");
        std::fs::write(&old, b"old").unwrap();
        let engine = engine(PAGE);
        let packed = PackedField::open(&engine, &made.paths).unwrap();
        let e = packed.unpack(&disk.mounted, true, |_| true).unwrap_err();
        assert!(
            matches!(
                e,
                Error::Create {
                    errno: libc::ENOSPC,
                    ..
                } | Error::Write {
                    fault: Fault::Os(libc::ENOSPC),
                    ..
                }
            ),
            "{kind}: {e:?}"
        );
        assert_eq!(std::fs::read(&old).unwrap(), b"old");
        assert_eq!(listed(&disk.mounted).len(), kept.len() + 1, "{kind}");
        assert_eq!(engine.stats().frames_pinned, 0);
    }
}

#[test]
fn what_is_there_already_is_kept_unless_it_is_to_be_replaced() {
    let dir = disk_dir();
    let source = dir.path().join("model.gguf");
    std::fs::write(&source, model().bytes()).unwrap();
    let paths = members(dir.path(), 2);
    for taken in 0..2 {
        std::fs::write(&paths[taken], b"mine").unwrap();
        let e = Pack::new([&source])
            .page_size(PAGE)
            .run(&paths, |_| true)
            .unwrap_err();
        assert!(matches!(&e, Error::Create { path, errno: libc::EEXIST } if *path == paths[taken]));
        assert_eq!(std::fs::read(&paths[taken]).unwrap(), b"mine");
        std::fs::remove_file(&paths[taken]).unwrap();
        assert_eq!(listed(dir.path()), ["model.gguf"]);
    }
    // One that appears while the field is packed: the other is taken back.
    let mut calls = 0;
    let packed = Pack::new([&source]).page_size(PAGE).run(&paths, |_| {
        calls += 1;
        if calls == 1 {
            std::fs::write(&paths[1], b"mine").unwrap();
        }
        true
    });
    assert!(
        matches!(&packed, Err(Error::Create { path, errno: libc::EEXIST }) if *path == paths[1])
    );
    assert_eq!(listed(dir.path()), ["1.rf", "model.gguf"]);
    assert_eq!(std::fs::read(&paths[1]).unwrap(), b"mine");
    // Replaced where that was asked for, while a reader goes on with what it has.
    std::fs::write(&paths[0], b"mine").unwrap();
    let replace = Pack::new([&source]).page_size(PAGE).replace(true);
    replace.run(&paths, |_| true).unwrap();
    let engine = builder(PAGE).build().unwrap();
    let field = engine.open_array(&paths).unwrap();
    replace.run(&paths, |_| true).unwrap();
    let first = field.read(0..100).unwrap().to_vec();
    let out = quick_dir();
    let unpack = |field| {
        let packed = PackedField::of(field).unwrap();
        packed.unpack(out.path(), true, |_| true).unwrap()
    };
    unpack(field.clone());
    let new = engine.open_array(&paths).unwrap();
    assert_eq!(new.read(0..100).unwrap().to_vec(), first);
    let old = unpack(new);
    assert!(std::fs::read(&old[0]).unwrap() == model().bytes());
    // Replacing fails in the middle, is cancelled, or cannot be: what was there stays.
    let before: Vec<Vec<u8>> = paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    for stop in [0, 5, 100] {
        let mut calls = 0;
        let cancelled = replace.run(&paths, |_| {
            calls += 1;
            calls <= stop
        });
        assert_eq!(cancelled, Err(Error::Cancelled));
    }
    let occupied = dir.path().join("directory");
    std::fs::create_dir(&occupied).unwrap();
    let e = replace.run([&paths[0], &occupied], |_| true).unwrap_err();
    assert!(
        matches!(&e, Error::Create { path, .. } if *path == occupied),
        "{e:?}"
    );
    for (path, bytes) in paths.iter().zip(before) {
        assert!(std::fs::read(path).unwrap() == bytes);
    }
    assert_eq!(
        listed(dir.path()),
        ["0.rf", "1.rf", "directory", "model.gguf"]
    );
    // Unpacked files are no different.
    std::fs::write(out.path().join("model.gguf"), b"mine").unwrap();
    let packed = PackedField::open(&engine, &paths).unwrap();
    let e = packed.unpack(out.path(), false, |_| true).unwrap_err();
    assert!(matches!(
        e,
        Error::Create {
            errno: libc::EEXIST,
            ..
        }
    ));
    let mut calls = 0;
    let cancelled = packed.unpack(out.path(), true, |_| {
        calls += 1;
        calls < 20
    });
    assert_eq!(cancelled, Err(Error::Cancelled));
    assert_eq!(
        std::fs::read(out.path().join("model.gguf")).unwrap(),
        b"mine"
    );
    assert_eq!(listed(out.path()), ["model.gguf"]);
    assert_eq!(engine.stats().frames_pinned, 0);
}

#[test]
fn a_cancelled_packer_leaves_nothing() {
    let dir = disk_dir();
    let source = dir.path().join("model.gguf");
    std::fs::write(&source, model().bytes()).unwrap();
    let pack = Pack::new([&source]).page_size(PAGE);
    let mut pages = 0;
    let packed = pack.run([dir.path().join("whole.rf")], |now| {
        pages += 1;
        assert!(now.done_bytes <= now.total_bytes);
        true
    });
    assert_eq!(packed.unwrap().pages, pages);
    for stop in (0..pages).step_by(40).chain([1, 2, 17, pages - 1]) {
        let mut calls = 0;
        let cancelled = pack.run(members(dir.path(), 3), |_| {
            calls += 1;
            calls <= stop
        });
        assert_eq!(cancelled, Err(Error::Cancelled), "after {stop} of {pages}");
        assert_eq!(listed(dir.path()), ["model.gguf", "whole.rf"]);
    }
}

#[test]
fn places_that_nothing_can_be_written_to_are_typed_errors() {
    let dir = disk_dir();
    let source = dir.path().join("model.gguf");
    std::fs::write(&source, model().bytes()).unwrap();
    let pack = Pack::new([&source]).page_size(PAGE);
    let create = |path: &Path| match pack.run([path], |_| true).unwrap_err() {
        Error::Create { path: named, errno } => {
            assert_eq!(named, path);
            errno
        }
        e => panic!("{e:?}"),
    };
    assert_eq!(create(&dir.path().join("no/such/x.rf")), libc::ENOENT);
    assert_eq!(create(&source.join("x.rf")), libc::ENOTDIR);
    assert_eq!(create(Path::new("/proc/x.rf")), libc::ENOENT);
    assert_eq!(create(dir.path()), libc::EEXIST);
    let long = dir.path().join("x".repeat(300));
    assert_eq!(create(&long), libc::ENAMETOOLONG);
    let made = Made::new(&model(), 1, PAGE);
    let packed = PackedField::open(&engine(PAGE), &made.paths).unwrap();
    let e = packed
        .unpack(dir.path().join("nowhere"), false, |_| true)
        .unwrap_err();
    assert!(
        matches!(
            e,
            Error::Create {
                errno: libc::ENOENT,
                ..
            }
        ),
        "{e:?}"
    );
    assert_eq!(listed(dir.path()), ["model.gguf"]);
    // What is to be packed is not there, or no model.
    let target = dir.path().join("x.rf");
    let e = Pack::new([dir.path().join("none.gguf")])
        .run([&target], |_| true)
        .unwrap_err();
    assert!(matches!(
        e,
        Error::Open {
            errno: libc::ENOENT,
            ..
        }
    ));
    for bytes in [
        &b""[..],
        b"GGUF",
        b"GGUF\x03\0\0\0",
        b"some text that is no model at all",
    ] {
        let odd = dir.path().join("odd");
        std::fs::write(&odd, bytes).unwrap();
        let e = Pack::new([&odd]).run([&target], |_| true).unwrap_err();
        assert!(
            matches!(&e, Error::Malformed { path, .. } if *path == odd),
            "{e:?}"
        );
        std::fs::remove_file(odd).unwrap();
    }
    assert_eq!(listed(dir.path()), ["model.gguf"]);
}

#[test]
fn a_directory_that_is_read_only_is_a_typed_error() {
    if !is_root() {
        skipped!("only root can mount");
    }
    let disk = match SmallDisk::new(8192, "tmpfs") {
        Ok(disk) => disk,
        Err(why) => skipped!("no loop device: tmpfs: {why}"),
    };
    let source_dir = quick_dir();
    let source = source_dir.path().join("model.gguf");
    std::fs::write(&source, model().bytes()).unwrap();
    let again = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(&disk.mounted)
        .status();
    assert!(again.unwrap().success());
    let path = disk.mounted.join("x.rf");
    let e = Pack::new([&source])
        .page_size(PAGE)
        .run([&path], |_| true)
        .unwrap_err();
    assert_eq!(
        e,
        Error::Create {
            path,
            errno: libc::EROFS
        }
    );
}

#[test]
fn a_model_that_is_cut_short_while_it_is_packed_is_an_error_and_leaves_nothing() {
    let dir = disk_dir();
    let source = dir.path().join("model.gguf");
    let model = model().bytes();
    for at in [1, 40, 150] {
        std::fs::write(&source, &model).unwrap();
        let mut calls = 0;
        let packed = Pack::new([&source])
            .page_size(PAGE)
            .run(members(dir.path(), 2), |_| {
                calls += 1;
                if calls == at {
                    let file = std::fs::File::options().write(true).open(&source).unwrap();
                    file.set_len(model.len() as u64 / 3 * 2).unwrap();
                }
                true
            });
        let e = packed.unwrap_err();
        assert!(
            matches!(&e, Error::FileChanged { path, .. } if *path == source),
            "{e:?}"
        );
        assert_eq!(listed(dir.path()), ["model.gguf"]);
    }
}
