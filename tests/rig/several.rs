//! Several controllers at once.

use crate::RigFile;
use ringfield::Engine;

pub(crate) fn loops() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("ringfield-nvme"))
        .count()
}

#[test]
#[ignore = "in the rig: rig/run"]
fn four_controllers_are_driven_by_four_loops() {
    let files: Vec<_> = (0..4)
        .map(|n| RigFile::new(&format!("/rig/disk{n}"), 8_000_003 + n))
        .collect();
    let engine = Engine::builder()
        .dram_budget(16 << 20)
        .page_size(16 << 10)
        .build()
        .unwrap();
    let fields: Vec<_> = files
        .iter()
        .map(|file| engine.open(&file.path).unwrap())
        .collect();
    assert_eq!(loops(), 4);
    std::thread::scope(|scope| {
        for (file, field) in files.iter().zip(&fields) {
            scope.spawn(|| file.check_all(field));
        }
    });
    let report = engine.report().to_string();
    for n in 0..4 {
        assert!(report.contains(&format!("nvme{n}n1: backend")), "{report}");
    }
    drop(fields);
    drop(engine);
    assert_eq!(loops(), 0);
}
