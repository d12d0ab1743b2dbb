//! The command on a machine that grants less: what `ringfield doctor` says there, and whether a model reads right.
#![allow(dead_code)]

use crate::seccomp;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A command that takes longer hangs, and is ended.
const LIMIT_S: u32 = 60;
/// The user and the group `nobody`.
const NOBODY: u32 = 65534;
/// Columns of a terminal that shows the table without breaking its lines.
const TERMINAL_COLUMNS: usize = 100;

/// Runs the command, with restrictions on the process it runs in.
pub(crate) struct Machine {
    binary: PathBuf,
    restrict: Box<dyn Fn(&mut Command)>,
}

impl Machine {
    /// As this machine is.
    pub(crate) fn unrestricted() -> Machine {
        Machine::that(|_| {})
    }

    /// `restrict` is called with each command before it runs.
    pub(crate) fn that(restrict: impl Fn(&mut Command) + 'static) -> Machine {
        Machine {
            binary: assert_cmd::cargo::cargo_bin("ringfield"),
            restrict: Box::new(restrict),
        }
    }

    /// With a system call filter.
    pub(crate) fn filtered(program: Vec<libc::sock_filter>) -> Machine {
        Machine::that(move |command| {
            let program = program.clone();
            // SAFETY: `install` makes two system calls and allocates nothing.
            unsafe { command.pre_exec(move || seccomp::install(&program)) };
        })
    }

    /// For a user without privileges, who runs a copy of the command that lies in `dir`: root becomes `nobody`.
    pub(crate) fn unprivileged(dir: &Path) -> Machine {
        let binary = dir.join("ringfield");
        fs::copy(assert_cmd::cargo::cargo_bin("ringfield"), &binary).unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        let mut machine = Machine::that(|command| {
            if is_root() {
                command.uid(NOBODY).gid(NOBODY);
            }
        });
        machine.binary = binary;
        machine
    }

    /// Restricted further.
    pub(crate) fn and(self, restrict: impl Fn(&mut Command) + 'static) -> Machine {
        let before = self.restrict;
        Machine {
            binary: self.binary,
            restrict: Box::new(move |command| {
                before(command);
                restrict(command);
            }),
        }
    }

    /// # Errors
    /// What a restriction answered that this machine does not have.
    pub(crate) fn run(&self, arguments: &[&str], path: &Path) -> io::Result<Output> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg(path).stdin(Stdio::null());
        // SAFETY: `end_in_time` makes one system call.
        unsafe { command.pre_exec(end_in_time) };
        (self.restrict)(&mut command);
        command.output()
    }

    /// What `ringfield doctor PATH` says; fails unless both of its forms succeed and say the same in full.
    #[track_caller]
    pub(crate) fn doctor(&self, path: &Path) -> Doctor {
        let json = succeeded(&self.run(&["doctor", "--json"], path).unwrap());
        let doctor = Doctor {
            text: succeeded(&self.run(&["doctor"], path).unwrap()),
            report: serde_json::from_str(&json).unwrap(),
        };
        doctor.check();
        doctor
    }

    /// Fails unless every way to read gives the model at `path` as it is; returns the backends that read it.
    #[track_caller]
    pub(crate) fn verify(&self, path: &Path) -> Vec<String> {
        let arguments = ["safetensors", "verify", "--json", "--dram", "8MiB"];
        let json = succeeded(&self.run(&arguments, path).unwrap());
        let rows: Vec<Verified> = serde_json::from_str(&json).unwrap();
        assert!(rows.len() == 3 && rows.iter().all(|row| row.wrong.is_empty()));
        rows.into_iter().map(|row| row.backend).collect()
    }
}

/// Ends this process, and what it executes, if it still runs then.
fn end_in_time() -> io::Result<()> {
    // SAFETY: `alarm` takes an integer.
    unsafe { libc::alarm(LIMIT_S) };
    Ok(())
}

#[track_caller]
pub(crate) fn succeeded(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {error}", output.status);
    assert!(error.is_empty(), "{error}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[derive(Deserialize)]
struct Verified {
    backend: String,
    wrong: Vec<String>,
}

/// What the doctor said.
pub(crate) struct Doctor {
    report: Report,
    pub(crate) text: String,
}

#[derive(Deserialize)]
struct Report {
    rows: Vec<Row>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Row {
    item: String,
    pub(crate) requested: String,
    pub(crate) granted: String,
    pub(crate) why: String,
    pub(crate) fix: String,
}

impl Row {
    /// Without the path or the device.
    fn name(&self) -> &str {
        self.item.rsplit(": ").next().unwrap()
    }
}

impl Doctor {
    /// The row called `name`.
    #[track_caller]
    pub(crate) fn row(&self, name: &str) -> &Row {
        let mut rows = self.report.rows.iter();
        let row = rows.find(|row| row.name() == name);
        row.unwrap_or_else(|| panic!("no {name} in\n{}", self.text))
    }

    /// Why `name` is degraded, if it is.
    #[track_caller]
    pub(crate) fn why(&self, name: &str) -> Option<&str> {
        Some(&*self.row(name).why).filter(|why| !why.is_empty())
    }

    /// Fails unless just `names` are degraded beside what is so `anyway`, without the restriction. Whether the kernel has huge
    /// pages to give changes from one moment to the next; they are looked at where they are refused.
    #[track_caller]
    pub(crate) fn lost(&self, names: &[&str], anyway: &Doctor) {
        let given: BTreeSet<&str> = names.iter().copied().collect();
        let mut lost = self.names_of_degraded();
        let excused =
            |name: &str| name == "huge pages" || anyway.names_of_degraded().contains(name);
        lost.retain(|name| given.contains(name) || !excused(name));
        assert_eq!(lost, given, "{}", self.text);
    }

    fn names_of_degraded(&self) -> BTreeSet<&str> {
        let rows = self.report.rows.iter();
        let degraded = rows.filter(|row| !row.why.is_empty());
        degraded.map(Row::name).collect()
    }

    #[track_caller]
    fn check(&self) {
        for row in &self.report.rows {
            let degraded = !row.why.is_empty();
            assert_eq!(degraded, !row.fix.is_empty(), "{row:?}");
            assert!(!degraded || row.requested != row.granted, "{row:?}");
            // The two forms are two processes, which can get different parts of huge pages.
            if row.name() != "huge pages" {
                self.prints(row);
            }
        }
        let text = &self.text;
        let (head, below) = text.split_once("\n\n").unwrap();
        assert!(!head.contains('\n'), "{text}");
        let table = below.split("\n\n").next().unwrap();
        let widest = table.lines().map(|line| line.chars().count()).max();
        assert!(widest.unwrap() <= TERMINAL_COLUMNS, "{text}");
        let marked = table.lines().filter(|line| line.starts_with('!')).count();
        let last = text.lines().last().unwrap();
        match marked {
            0 => assert_eq!(last, "Everything was granted."),
            n => assert!(last.starts_with(&format!("{n} of ")), "{text}"),
        }
    }

    /// Fails unless `row` is a line of the table for people, marked and explained where it is degraded.
    #[track_caller]
    pub(crate) fn prints(&self, row: &Row) {
        let text = &self.text;
        let degraded = !row.why.is_empty();
        let mark = if degraded { "!" } else { " " };
        let in_table = text.lines().any(|line| {
            let rest = line.strip_prefix(mark).unwrap_or_default();
            let rest = rest.trim_start().strip_prefix(row.name());
            let rest = rest.unwrap_or_default().trim_start();
            let rest = rest.strip_prefix(&row.requested).unwrap_or_default();
            rest.trim() == row.granted
        });
        assert!(in_table, "{row:?} in\n{text}");
        let section = format!(
            "\n! {}: {}\n    why:        {}\n    how to fix: {}\n",
            row.name(),
            row.granted,
            row.why,
            row.fix
        );
        assert_eq!(degraded, text.contains(&section), "{row:?} in\n{text}");
    }
}

/// A directory on the disk of the build directory (direct I/O is not to be had everywhere in /tmp) with a model.
pub(crate) fn model_on_disk() -> (tempfile::TempDir, PathBuf) {
    model_in(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
}

/// Puts a model into `dir`, which any user can read.
pub(crate) fn model_in(dir: tempfile::TempDir) -> (tempfile::TempDir, PathBuf) {
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let header = r#"{"w":{"dtype":"U8","shape":[300000],"data_offsets":[0,300000]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend((0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8));
    let path = dir.path().join("model.safetensors");
    fs::write(&path, bytes).unwrap();
    (dir, path)
}

pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}
