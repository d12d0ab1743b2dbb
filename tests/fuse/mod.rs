//! A file system whose device does as a test says: answers late, never, too little, or with an error.
//!
//! A minimal FUSE server (fuse(4), `linux/fuse.h`) in a process of its own, so that a test that dies takes the server
//! with it, the kernel then ends all reads, and nothing hangs. Needs root and /dev/fuse.
#![allow(dead_code)]

use crate::child::Child;
use crate::content;
use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub(crate) const SEED: u64 = 77;

/// What the file does with reads; the first part of its name, as in `held-1000000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    /// Answers.
    Plain,
    /// Answers when released.
    Held,
    /// Answers pages of 64 KiB with an odd number with EIO.
    BadOdd,
    /// Answers with at most 8 KiB and 512 bytes.
    Short,
    /// Cannot be opened with `O_DIRECT`.
    Buffered,
}

/// The test's side.
pub(crate) struct Fuse {
    dir: tempfile::TempDir,
    server: std::process::Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Fuse {
    /// # Errors
    /// Why there can be none here.
    pub(crate) fn start() -> Result<Fuse, String> {
        if !Path::new("/dev/fuse").exists() {
            return Err("no /dev/fuse".into());
        }
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let mut server = Child::new("fuse::server", &dir.path().display().to_string())
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|e| e.to_string())?;
        let mut fuse = Fuse {
            commands: server.stdin.take().unwrap(),
            answers: BufReader::new(server.stdout.take().unwrap()),
            server,
            dir,
        };
        match &*fuse.answer() {
            "mounted" => Ok(fuse),
            why => Err(why.into()),
        }
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        while self.answers.read_line(&mut line).unwrap_or(0) > 0 {
            if let Some((_, answer)) = line.trim_end_matches('\n').split_once("fuse: ") {
                return answer.into();
            }
            line.clear();
        }
        "the server went away".into()
    }

    fn ask(&mut self, command: &str) -> String {
        writeln!(self.commands, "{command}").unwrap();
        self.answer()
    }

    /// A file of `len` bytes of content [`SEED`] that behaves as its kind says.
    pub(crate) fn file(&self, kind: &str, len: u64) -> PathBuf {
        self.dir.path().join(format!("{kind}-{len}"))
    }

    /// Answers what is held, and all later reads at once.
    pub(crate) fn release(&mut self) {
        self.ask("release");
    }

    /// The offsets of all reads so far, in the order of their arrival; the engine's probe is none.
    pub(crate) fn reads(&mut self) -> Vec<u64> {
        let offsets = self.ask("reads");
        offsets
            .split_whitespace()
            .map(|offset| offset.parse().unwrap())
            .collect()
    }

    /// Waits until `count` reads are held.
    #[track_caller]
    pub(crate) fn wait_for_held(&mut self, count: usize) {
        let started = Instant::now();
        loop {
            let held: usize = self.ask("held").parse().unwrap();
            if held >= count {
                return;
            }
            assert!(
                started.elapsed() < Duration::from_secs(10),
                "{held} of {count} reads"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        let path = CString::new(self.dir.path().as_os_str().as_encoded_bytes()).unwrap();
        // SAFETY: the path is a NUL-terminated string; the mount is this test's own. MNT_FORCE ends its reads.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_FORCE | libc::MNT_DETACH) };
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
#[ignore = "the server: started by tests that need it"]
fn server() {
    let Some(dir) = crate::child::part() else {
        return;
    };
    // SAFETY: PR_SET_PDEATHSIG takes an integer.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    match mount(&dir) {
        Ok(device) => {
            println!("\nfuse: mounted");
            serve(device);
        }
        Err(e) => println!("\nfuse: mounting a FUSE file system: {e}"),
    }
}

fn mount(dir: &str) -> std::io::Result<File> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")?;
    let options = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0,allow_other",
        device.as_raw_fd()
    );
    let dir = CString::new(dir).unwrap();
    let options = CString::new(options).unwrap();
    // SAFETY: all four are NUL-terminated strings that outlive the call.
    let rc = unsafe {
        libc::mount(
            c"ringfield-test".as_ptr(),
            dir.as_ptr(),
            c"fuse".as_ptr(),
            libc::MS_NOSUID | libc::MS_NODEV,
            options.as_ptr().cast(),
        )
    };
    match rc {
        0 => Ok(device),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[derive(Default)]
struct Held {
    released: bool,
    reads: Vec<(u64, Vec<u8>)>,
    /// Offsets of all reads.
    log: Vec<String>,
}

fn reply(device: &File, unique: u64, result: Result<&[u8], i32>) {
    let body = result.unwrap_or(&[]);
    let mut message = Vec::with_capacity(16 + body.len());
    message.extend_from_slice(&(16 + body.len() as u32).to_le_bytes());
    message.extend_from_slice(&result.map_or_else(|errno| -errno, |_| 0).to_le_bytes());
    message.extend_from_slice(&unique.to_le_bytes());
    message.extend_from_slice(body);
    // A request that was given up meanwhile refuses its answer.
    let _ = (&*device).write(&message);
}

fn serve(device: File) {
    let device = Arc::new(device);
    let held = Arc::new(Mutex::new(Held::default()));
    {
        let (device, held) = (device.clone(), held.clone());
        std::thread::spawn(move || {
            for command in std::io::stdin().lines().map_while(Result::ok) {
                let mut held = held.lock().unwrap();
                if command == "release" {
                    held.released = true;
                    for (unique, bytes) in held.reads.drain(..) {
                        reply(&device, unique, Ok(&bytes));
                    }
                }
                match &*command {
                    "reads" => println!("\nfuse: {}", held.log.join(" ")),
                    _ => println!("\nfuse: {}", held.reads.len()),
                }
            }
            // The test is gone.
            std::process::exit(0);
        });
    }
    let mut names: HashMap<Vec<u8>, u64> = HashMap::new();
    let mut nodes: Vec<(Behaviour, u64)> = vec![(Behaviour::Plain, 0); 2];
    let mut buffer = vec![0u8; (1 << 20) + 4096];
    loop {
        let len = match (&*device).read(&mut buffer) {
            Ok(len) => len,
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => return,
            Err(_) => continue,
        };
        let message = &buffer[..len];
        let u32_at = |at: usize| u32::from_le_bytes(message[at..at + 4].try_into().unwrap());
        let u64_at = |at: usize| u64::from_le_bytes(message[at..at + 8].try_into().unwrap());
        let (opcode, unique, node) = (u32_at(4), u64_at(8), u64_at(16));
        let known = nodes.get(node as usize).copied();
        let (behaviour, size) = known.unwrap_or((Behaviour::Plain, 0));
        match opcode {
            // FORGET, INTERRUPT, BATCH_FORGET have no answer.
            2 | 36 | 42 => {}
            // LOOKUP
            1 => {
                let name = message[40..len - 1].to_vec();
                match parse(&name) {
                    Some(file) => {
                        let node = *names.entry(name).or_insert_with(|| {
                            nodes.push(file);
                            nodes.len() as u64 - 1
                        });
                        let mut entry = Vec::new();
                        for word in [node, 0, 3600, 3600, 0] {
                            entry.extend_from_slice(&u64::to_le_bytes(word));
                        }
                        entry.extend_from_slice(&attributes(node, file.1));
                        reply(&device, unique, Ok(&entry));
                    }
                    None => reply(&device, unique, Err(libc::ENOENT)),
                }
            }
            // GETATTR
            3 => {
                let mut answer = [3600u64.to_le_bytes(), [0; 8]].concat();
                answer.extend_from_slice(&attributes(node, size));
                reply(&device, unique, Ok(&answer));
            }
            // OPEN
            14 if behaviour == Behaviour::Buffered => {
                let direct = u32_at(40) & libc::O_DIRECT as u32 != 0;
                reply(
                    &device,
                    unique,
                    if direct {
                        Err(libc::EINVAL)
                    } else {
                        Ok(&[0; 16])
                    },
                );
            }
            14 => {
                // FOPEN_DIRECT_IO: the kernel does not complete short answers from its page cache.
                let mut answer = [0; 16];
                answer[8] = 1;
                reply(&device, unique, Ok(&answer));
            }
            // OPENDIR
            27 => reply(&device, unique, Ok(&[0; 16])),
            // READ
            15 => {
                let (offset, bytes) = (u64_at(48), u64::from(u32_at(56)));
                // The engine sees first whether the device can be read at all.
                let probe = offset == 0 && bytes <= 4096;
                let mut end = (offset + bytes).min(size);
                if behaviour == Behaviour::Short {
                    end = end.min(offset + (8 << 10) + 512);
                }
                if !probe {
                    held.lock().unwrap().log.push(offset.to_string());
                }
                let bytes = content::bytes(SEED, offset.min(end), end);
                if behaviour == Behaviour::BadOdd
                    && (offset >> 16 & 1 == 1 || (end - 1) >> 16 & 1 == 1)
                {
                    reply(&device, unique, Err(libc::EIO));
                    continue;
                }
                let mut held = held.lock().unwrap();
                if behaviour == Behaviour::Held && !probe && !held.released {
                    held.reads.push((unique, bytes));
                } else {
                    reply(&device, unique, Ok(&bytes));
                }
            }
            // STATFS
            17 => reply(&device, unique, Ok(&[0; 80])),
            // INIT
            26 => {
                let mut answer = Vec::new();
                // ASYNC_READ, ASYNC_DIO, MAX_PAGES: reads of up to 1 MiB, several at once.
                for word in [
                    7u32,
                    31,
                    0,
                    1 | 1 << 15 | 1 << 22,
                    64 << 16 | 64,
                    4096,
                    1,
                    256,
                ] {
                    answer.extend_from_slice(&word.to_le_bytes());
                }
                answer.resize(64, 0);
                reply(&device, unique, Ok(&answer));
            }
            // RELEASE, FLUSH, RELEASEDIR, ACCESS, DESTROY
            18 | 25 | 29 | 34 | 38 => reply(&device, unique, Ok(&[])),
            _ => reply(&device, unique, Err(libc::ENOSYS)),
        }
    }
}

fn parse(name: &[u8]) -> Option<(Behaviour, u64)> {
    let (kind, len) = std::str::from_utf8(name).ok()?.split_once('-')?;
    let behaviour = match kind {
        "plain" => Behaviour::Plain,
        "held" => Behaviour::Held,
        "bad_odd" => Behaviour::BadOdd,
        "short" => Behaviour::Short,
        "buffered" => Behaviour::Buffered,
        _ => return None,
    };
    Some((behaviour, len.parse().ok()?))
}

/// `struct fuse_attr`
fn attributes(node: u64, size: u64) -> Vec<u8> {
    let directory = node == 1;
    let mode: u32 = if directory { 0o040_755 } else { 0o100_644 };
    let mut bytes = Vec::new();
    for word in [node, size, size.div_ceil(512), 0, 0, 0] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    for word in [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0] {
        bytes.extend_from_slice(&u32::to_le_bytes(word));
    }
    bytes
}
