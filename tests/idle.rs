//! An engine that nobody asks for anything uses no processor and wakes nothing up.
#![cfg(test)]

mod child;
mod content;
mod process;

use child::alone;
use content::FieldFile;
use ringfield::{BackendKind, Engine, EngineBuilder, Spin};
use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// Processor time in nanoseconds and voluntary context switches of each thread but this one, which only sleeps.
fn used_by_others() -> HashMap<String, (u64, u64)> {
    // SAFETY: gettid takes nothing and cannot fail.
    let own = unsafe { libc::gettid() }.to_string();
    let mut used = HashMap::new();
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap();
        let thread = task.file_name().into_string().unwrap();
        if thread == own {
            continue;
        }
        let status = fs::read_to_string(task.path().join("status")).unwrap();
        let switches = process::number_in(&status, "voluntary_ctxt_switches");
        let schedstat = fs::read_to_string(task.path().join("schedstat"));
        let cpu_ns = match schedstat {
            Ok(text) => text.split_whitespace().next().unwrap().parse().unwrap(),
            // Without it, clock ticks of 10 ms: fields 14 and 15 of proc_pid_stat(5).
            Err(_) => {
                let stat = fs::read_to_string(task.path().join("stat")).unwrap();
                let (_, rest) = stat.rsplit_once(')').unwrap();
                let ticks = rest.split_whitespace().skip(11).take(2);
                ticks.map(|n| n.parse::<u64>().unwrap() * 10_000_000).sum()
            }
        };
        used.insert(thread, (cpu_ns, switches));
    }
    used
}

#[test]
fn an_idle_engine_uses_less_than_five_milliseconds_and_twenty_wakeups_in_ten_seconds() {
    let name = "an_idle_engine_uses_less_than_five_milliseconds_and_twenty_wakeups_in_ten_seconds";
    alone(name, || {
        let file = FieldFile::new(12 << 20);
        let base = || Engine::builder().dram_budget(8 << 20).page_size(16 << 10);
        // All at once, and the limit is that of one.
        let builders: [EngineBuilder; 5] = [
            base(),
            base().backend(BackendKind::Pread).inline_reads(false),
            base().read_deadline(Duration::from_millis(100)),
            base().spin(Spin::Auto),
            base().pin_wait(Duration::from_secs(1)).inline_reads(false),
        ];
        let engines = builders.map(|builder| {
            let engine = builder.build().unwrap();
            let field = engine.open(&file.path).unwrap();
            file.check_all(&field, 100_000);
            let mut batch = engine.batch(8).unwrap();
            let ranges: Vec<_> = (0..8).map(|k| k << 20..(k << 20) + 70_000).collect();
            field.read_many(&ranges, &mut batch).unwrap();
            batch.clear();
            field.prefetch(std::slice::from_ref(&(0..1 << 20)));
            // A plan that waits for its first pages to be read.
            drop(engine.plan(&[field.at(2 << 20..12 << 20)]));
            (engine, field, batch)
        });
        std::thread::sleep(Duration::from_millis(200));
        let slow = std::env::var_os("RINGFIELD_SLOW").is_some();
        let seconds = if slow { 10 } else { 3 };
        let before = used_by_others();
        std::thread::sleep(Duration::from_secs(seconds));
        let after = used_by_others();
        let (mut cpu_ns, mut wakeups) = (0, 0);
        for (thread, now) in &after {
            let then = before.get(thread).unwrap_or(&(0, 0));
            cpu_ns += now.0 - then.0;
            wakeups += now.1 - then.1;
        }
        assert!(
            cpu_ns < 500_000 * seconds,
            "{cpu_ns} ns of processor time in {seconds} s"
        );
        assert!(wakeups < 2 * seconds, "{wakeups} wake-ups in {seconds} s");
        // None of them fell asleep for good.
        for (_, field, _) in &engines {
            file.check_all(field, 300_000);
        }
    });
}
