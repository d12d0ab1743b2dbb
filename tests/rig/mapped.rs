//! Device-mapper targets over a loop device.

use std::path::{Path, PathBuf};
use std::process::Command;

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    String::from_utf8_lossy(&output.stdout).trim().to_string()
}

/// A mapped device over a file, gone on drop.
pub(crate) struct Mapped {
    name: String,
    under: String,
    pub(crate) sectors: u64,
}

impl Mapped {
    /// `table` makes the target's line of the device under it and its length in sectors of 512 bytes.
    pub(crate) fn over(file: &Path, name: &str, table: impl FnOnce(&str, u64) -> String) -> Mapped {
        let under = run(
            "losetup",
            &["--find", "--show", &file.display().to_string()],
        );
        let sectors = std::fs::metadata(file).unwrap().len() / 512;
        let table = table(&under, sectors);
        run(
            "dmsetup",
            &["create", "--noudevsync", name, "--table", &table],
        );
        run("dmsetup", &["mknodes"]);
        Mapped {
            name: name.into(),
            under,
            sectors,
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        Path::new("/dev/mapper").join(&self.name)
    }

    /// Puts another table in its place.
    pub(crate) fn change(&self, table: impl FnOnce(&str, u64) -> String) {
        let table = table(&self.under, self.sectors);
        run("dmsetup", &["suspend", "--noudevsync", &self.name]);
        run("dmsetup", &["load", &self.name, "--table", &table]);
        run("dmsetup", &["resume", "--noudevsync", &self.name]);
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let _ = Command::new("dmsetup")
            .args(["remove", "--force", "--noudevsync", &self.name])
            .status();
        let _ = Command::new("losetup")
            .args(["--detach", &self.under])
            .status();
    }
}
