//! Workers as processes: started, fed, waited for, and ended with the demo.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use crate::cgroup::Group;
use crate::error::{Context, Error, Result};
use crate::interrupt;

use super::field::Field;
use super::worker::{Outcome, Reader};
use super::workload::Workload;

/// What a worker is asked for.
pub(super) struct Measurement<'a> {
    pub(super) field: &'a Field,
    pub(super) budget_bytes: u64,
    pub(super) time: Duration,
    pub(super) workload: Workload,
    pub(super) reader: Reader,
}

impl Measurement<'_> {
    /// Runs a worker to its end, in `group` if there is one.
    ///
    /// # Errors
    /// What the worker says, how it died, or an interrupt: the worker is ended then.
    pub(super) fn run(&self, digests: &[u8], group: Option<&Group>) -> Result<Outcome> {
        run_worker(self.command(group), digests).map_err(|e| match e {
            Error::Message(why) => Error::Message(format!(
                "{}, {}: {why}",
                self.reader.name(),
                self.workload.name()
            )),
            other => other,
        })
    }

    fn command(&self, group: Option<&Group>) -> Command {
        // The very program that runs, even if its file was replaced meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("ringfield").arg("demo-worker");
        command.arg("--file").arg(&self.field.path);
        for (name, value) in [
            ("--reader", self.reader.name().to_owned()),
            ("--workload", self.workload.argument().to_owned()),
            ("--begin", self.field.begin.to_string()),
            ("--region", self.field.region_bytes.to_string()),
            ("--budget", self.budget_bytes.to_string()),
            ("--time-ms", self.time.as_millis().to_string()),
        ] {
            command.args([name, &value]);
        }
        if let Some(bytes) = self.field.page_bytes {
            command.args(["--packed", &bytes.to_string()]);
        }
        if let Some(group) = group {
            command.arg("--entrance").arg(group.entrance());
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

fn run_worker(mut command: Command, digests: &[u8]) -> Result<Outcome> {
    let mut child = command.spawn().doing("cannot start a worker")?;
    if let Some(mut stdin) = child.stdin.take() {
        // A worker that died reads nothing; its status says why.
        let _ = stdin.write_all(digests);
    }
    let status = match wait(&mut child) {
        Ok(status) => status,
        Err(e) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(e);
        }
    };
    // Both are far below the 64 KiB that a pipe holds, so they are complete by now.
    let (mut stdout, mut stderr) = (String::new(), String::new());
    if let (Some(mut out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) {
        let _ = out.read_to_string(&mut stdout);
        let _ = err.read_to_string(&mut stderr);
    }
    // Ctrl-C reaches the worker too, and may end it first.
    interrupt::check()?;
    match status.signal() {
        Some(libc::SIGKILL) => {
            let why = "was killed; if nobody did it, the memory limit was too small";
            return Err(Error::message(why));
        }
        Some(signal) => return Err(Error::message(format!("was ended by signal {signal}"))),
        None => {}
    }
    if !status.success() {
        let why = stderr.trim().trim_start_matches("ringfield: ");
        return Err(Error::message(if why.is_empty() { "failed" } else { why }));
    }
    serde_json::from_str(&stdout).map_err(Error::message)
}

fn wait(child: &mut Child) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait().doing("cannot wait for a worker")? {
            return Ok(status);
        }
        interrupt::check()?;
        thread::sleep(Duration::from_millis(10));
    }
}
