//! Running a test in a process of its own: for what is counted by the process (memory, descriptors, threads), and for what
//! a process cannot undo (a seccomp filter, another user, a fork).
#![allow(dead_code)]

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PART: &str = "RINGFIELD_TEST_PART";
/// A processor this many times slower than usual (an emulated one) gets this many times the time.
const SLOW: &str = "RINGFIELD_TEST_SLOW";

/// Says that a test could not run.
#[allow(unused_macros)]
macro_rules! skipped {
    ($($why:tt)*) => {{
        eprintln!("\nSKIPPED: {}", format_args!($($why)*));
        return;
    }};
}
#[allow(unused_imports)]
pub(crate) use skipped;

/// Which part of the test this process is; `None` where it is the test runner.
pub(crate) fn part() -> Option<String> {
    std::env::var(PART).ok()
}

/// Runs `body` in a process of its own. `test` is the path of the calling test.
#[track_caller]
pub(crate) fn alone(test: &str, body: impl FnOnce()) {
    match part() {
        Some(_) => body(),
        None => Child::new(test, "all").run(),
    }
}

/// A process that runs one test of this binary and nothing else.
pub(crate) struct Child {
    test: String,
    part: String,
    under: Vec<String>,
    environment: Vec<(String, String)>,
    limit: Duration,
}

impl Child {
    pub(crate) fn new(test: &str, part: &str) -> Child {
        Child {
            test: test.into(),
            part: part.into(),
            under: Vec::new(),
            environment: Vec::new(),
            limit: Duration::from_secs(60),
        }
    }

    /// Puts a command in front, such as a tracer.
    pub(crate) fn under(mut self, command: &[&str]) -> Child {
        self.under = command.iter().map(|&word| word.into()).collect();
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Child {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub(crate) fn limit(mut self, limit: Duration) -> Child {
        self.limit = limit;
        self
    }

    pub(crate) fn command(&self) -> Command {
        let exe = std::env::current_exe().unwrap();
        let mut words: Vec<_> = self.under.iter().map(std::ffi::OsString::from).collect();
        words.push(exe.into());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args([&self.test, "--exact", "--nocapture", "--include-ignored"])
            .arg("--test-threads=1")
            .env(PART, &self.part)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it; fails where it fails, hangs, or is not found.
    #[track_caller]
    pub(crate) fn run(self) {
        let mut command = self.command();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let read = |mut from: Box<dyn Read + Send>| {
            std::thread::spawn(move || {
                let mut text = String::new();
                let _ = from.read_to_string(&mut text);
                text
            })
        };
        let out = read(Box::new(child.stdout.take().unwrap()));
        let err = read(Box::new(child.stderr.take().unwrap()));
        let slow = std::env::var(SLOW)
            .ok()
            .and_then(|times| times.parse().ok());
        let limit = self.limit * slow.unwrap_or(1);
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if started.elapsed() > limit {
                // SAFETY: the group is the child's own: it leads it, and it has not been waited for.
                unsafe { libc::kill(-(child.id() as i32), libc::SIGKILL) };
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let _ = child.wait();
        let (out, err) = (out.join().unwrap(), err.join().unwrap());
        for line in err.lines().filter(|line| line.starts_with("SKIPPED: ")) {
            eprintln!("\n{line}");
        }
        let passed = status.is_some_and(|status| status.success()) && out.contains(" 1 passed");
        assert!(
            passed,
            "{} ({}) in a process of its own: {}\n--- its output\n{out}\n{err}",
            self.test,
            self.part,
            status.map_or("killed: it took too long".into(), |s| s.to_string())
        );
    }
}

/// Gives this process to the user `nobody`, for good. False where it is not root.
pub(crate) fn become_nobody() -> bool {
    // SAFETY: a list of no entries may be null.
    let groups = unsafe { libc::setgroups(0, std::ptr::null()) };
    // SAFETY: setgid takes an integer; the C library applies it to all threads.
    let group = unsafe { libc::setgid(65534) };
    // SAFETY: as above.
    let user = unsafe { libc::setuid(65534) };
    groups == 0 && group == 0 && user == 0
}

/// True where this process is root.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}
