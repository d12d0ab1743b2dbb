//! Block devices over files, where this process may make them (root; loop(4), losetup(8)).
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Goes away on drop.
pub(crate) struct LoopDevice(pub(crate) PathBuf);

impl LoopDevice {
    /// # Errors
    /// Why there can be none.
    pub(crate) fn over(file: &Path) -> Result<LoopDevice, String> {
        let made = Command::new("losetup")
            .args(["--find", "--show", "--read-only"])
            .arg(file)
            .output();
        let made = made.map_err(|e| format!("losetup: {e}"))?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).trim().to_string());
        }
        let name = String::from_utf8_lossy(&made.stdout).trim().to_string();
        Ok(LoopDevice(name.into()))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup")
            .arg("--detach")
            .arg(&self.0)
            .status();
    }
}
