//! Real files, on every backend.

use super::{FILE, fault_of, page_bytes, write};
use crate::{BackendKind, Engine, Fault};
use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};

const PAGE: u64 = 64 << 10;

/// A directory on the disk of the build directory: direct I/O is not to be had everywhere in /tmp.
fn directory() -> tempfile::TempDir {
    let executable = std::env::current_exe().unwrap();
    tempfile::tempdir_in(executable.parent().unwrap()).unwrap()
}

fn create(dir: &Path, len: u64) -> (File, PathBuf) {
    let path = dir.join(FILE);
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(true);
    let file = options.open(&path).unwrap();
    file.set_len(len).unwrap();
    (file, path)
}

fn engine(backend: BackendKind) -> Engine {
    let builder = Engine::builder().dram_budget(8 << 20).page_size(PAGE);
    builder.backend(backend).build().unwrap()
}

fn page_of(seed: u64, page: u64, len: u64) -> Vec<u8> {
    page_bytes(seed, page, (len - page * PAGE).min(PAGE) as usize)
}

#[test]
fn what_is_written_is_read_by_another_engine_on_every_backend() {
    let dir = directory();
    let backends = [BackendKind::Auto, BackendKind::Pread, BackendKind::Mmap];
    for (seed, backend) in (1..).zip(backends) {
        for len in [300 * PAGE, 3 * PAGE + 4096, 3 * PAGE + 5, 7] {
            let (file, path) = create(dir.path(), len);
            let writer = engine(backend);
            let field = writer.core.open_for_writing(file, &path).unwrap();
            let pages = len.div_ceil(PAGE);
            let mut under_way = VecDeque::new();
            for page in 0..pages {
                if under_way.len() == 16 {
                    let first = under_way.pop_front().unwrap();
                    field.shared.finish_write(first).unwrap();
                }
                let writing = field.shared.write_unit(page, |bytes| {
                    // Direct writes never reach behind the end: the last page is what the file has of it.
                    bytes.copy_from_slice(&page_of(seed, page, len));
                    bytes.len()
                });
                under_way.push_back(writing.unwrap());
            }
            for writing in under_way {
                field.shared.finish_write(writing).unwrap();
            }
            field.shared.sync().unwrap();

            let last = (pages - 1) * PAGE..len;
            let view = field.read(last).unwrap();
            assert_eq!(view.to_vec(), page_of(seed, pages - 1, len));
            drop(view);
            let stats = writer.stats();
            assert_eq!((stats.written_bytes, stats.ios), (len, 0), "{stats:?}");
            assert!((1..=pages).contains(&stats.writes), "{stats:?}");
            assert_eq!(stats.demand, crate::LaneStats::default());
            assert_eq!(stats.fixed_ios, 0);
            assert!(stats.to_string().contains(&format!("({len} bytes)")));
            assert_eq!(stats.frames_pinned, 0);
            let report = writer.report();
            let changed = report.rows().iter().find(|row| row.granted == "changed");
            assert!(changed.is_none(), "its own writes are no change: {report}");

            assert_eq!(std::fs::metadata(&path).unwrap().len(), len);
            let reader = engine(BackendKind::Auto);
            let read = reader.open(&path).unwrap();
            let direct = read.is_direct() && backend != BackendKind::Mmap && len % 512 == 0;
            assert_eq!(field.is_direct(), direct, "{report}");
            for page in 0..pages {
                let range = page * PAGE..len.min((page + 1) * PAGE);
                let view = read.read(range).unwrap();
                assert_eq!(view.to_vec(), page_of(seed, page, len), "page {page}");
            }
        }
    }
}

#[test]
fn a_file_that_is_read_is_another_field_than_the_same_file_that_is_written() {
    let dir = directory();
    let (file, path) = create(dir.path(), 4 * PAGE);
    let engine = engine(BackendKind::Auto);
    let read = engine.open(&path).unwrap();
    let written = engine.core.open_for_writing(file, &path).unwrap();
    assert_ne!(read.shared.id, written.shared.id);
    let writing = write(&written, 1, 0).unwrap();
    written.shared.finish_write(writing).unwrap();
    let writing = write(&read, 1, 0).unwrap();
    let fault = fault_of(read.shared.finish_write(writing), 0);
    assert_eq!(fault, Fault::Os(libc::EBADF));
}
