//! From a job file to what runs: the files of each section, and which sections run together.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringfield::PackedInfo;

use super::load::Load;
use super::region::{Readable, Region};
use crate::console;
use crate::engine_run;
use crate::error::{Context, Error, Result};
use crate::job::{Job, JobFile};
use crate::made_file::MadeFile;

/// More host threads at once only measure the scheduler.
const THREADS_MAX: u32 = 256;

/// Sections that run at the same time; the next step begins when all of them have ended.
pub(super) struct Step {
    /// Never empty.
    pub(super) loads: Vec<Load>,
}

/// All steps, the files they read, and those that go when this does.
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// Each file once, with its length in bytes.
    pub(super) files: Vec<(PathBuf, u64)>,
    _made: Vec<MadeFile>,
}

impl Plan {
    /// Makes the files that are not there; `instead` are read in place of every section's own.
    ///
    /// # Errors
    /// A file that is absent and has no size, is of the wrong kind or too small.
    pub(super) fn new(jobs: &JobFile, instead: &[PathBuf]) -> Result<Plan> {
        let named: Vec<Arc<[PathBuf]>> = jobs
            .jobs
            .iter()
            .map(|job| names(job, instead))
            .collect::<Result<_>>()?;
        let made = make(jobs, &named, instead.is_empty())?;
        let mut known: BTreeMap<PathBuf, Readable> = BTreeMap::new();
        let mut files = Vec::new();
        let mut steps: Vec<Step> = Vec::new();
        for (job, names) in jobs.jobs.iter().zip(named) {
            let mut measured = Vec::with_capacity(names.len());
            for path in names.iter() {
                let file = match known.get(path) {
                    Some(file) => file.clone(),
                    None => {
                        let bytes = file_bytes(path)?;
                        files.push((path.clone(), bytes));
                        let file = readable(path, bytes)?;
                        known.insert(path.clone(), file.clone());
                        file
                    }
                };
                measured.push(file);
            }
            check_packed(job, &measured)?;
            let load = Load::new(job, &measured)?;
            match steps.last_mut() {
                Some(step) if !job.stonewall => step.join(load)?,
                _ => steps.push(Step { loads: vec![load] }),
            }
        }
        Ok(Plan {
            steps,
            files,
            _made: made,
        })
    }
}

impl Step {
    fn join(&mut self, mut load: Load) -> Result<()> {
        let before = self.loads.iter().map(|load| load.numjobs).sum();
        if load.numjobs + before > THREADS_MAX {
            return Err(Error::message(format!(
                "job [{}]: more than {THREADS_MAX} jobs at once: separate sections by stonewall",
                load.name
            )));
        }
        load.first_thread = before;
        self.loads.push(load);
        Ok(())
    }

    /// The names of its sections.
    pub(super) fn name(&self) -> String {
        let names: Vec<&str> = self.loads.iter().map(|load| load.name.as_str()).collect();
        names.join(", ")
    }
}

/// The files of a section.
fn names(job: &Job, instead: &[PathBuf]) -> Result<Arc<[PathBuf]>> {
    if !instead.is_empty() {
        return Ok(instead.into());
    }
    if !job.filenames.is_empty() {
        return Ok(job.filenames.clone());
    }
    if job.numjobs > 1 {
        return Err(Error::message(format!(
            "job [{}] has numjobs={} and no filename, so that fio makes a file for each: name one",
            job.name, job.numjobs
        )));
    }
    // fio's own name for the file of a job that names none.
    Ok([PathBuf::from(format!("{}.0.0", job.name))].into())
}

/// Makes every file that is not there, as long as the section that reads most of it needs.
fn make(jobs: &JobFile, named: &[Arc<[PathBuf]>], wanted: bool) -> Result<Vec<MadeFile>> {
    let mut absent: Vec<(&Path, u64)> = Vec::new();
    for (job, names) in jobs.jobs.iter().zip(named) {
        for path in names.iter().filter(|path| wanted && !path.exists()) {
            let Some(bytes) = Region::made_bytes(job, names.len()) else {
                return Err(Error::message(format!(
                    "{} does not exist, and job [{}] has no size in bytes to make it with (or give --file)",
                    path.display(),
                    job.name
                )));
            };
            match absent.iter_mut().find(|(known, _)| known == path) {
                Some((_, most)) => *most = bytes.max(*most),
                None => absent.push((path, bytes)),
            }
        }
    }
    let make = |(path, bytes): (&Path, u64)| {
        let bar = console::bytes_bar(bytes, &format!("making {}", path.display()));
        let made = MadeFile::create(path.to_owned(), bytes, |done| bar.set_position(done))?;
        bar.finish_and_clear();
        Ok(made)
    };
    absent.into_iter().map(make).collect()
}

/// What of a file is read: of a packed field the pages, which the engine has with their checksums and the others as they
/// lie in the file.
fn readable(path: &Path, file_bytes: u64) -> Result<Readable> {
    if !PackedInfo::is_packed(path) {
        return Ok(Readable::whole(path, file_bytes));
    }
    let info = engine_run::packed_info(path)?;
    if info.members != 1 {
        return Err(Error::message(format!(
            "{} is member {} of {}: a packed field is compared with fio where it is one file",
            path.display(),
            info.member,
            info.members
        )));
    }
    Ok(Readable {
        path: path.to_owned(),
        begin: info.data_at,
        bytes: info.array_bytes,
        page_bytes: Some(info.page_bytes),
    })
}

/// fio has one offset for all files of a section, and a packed field's pages begin at one of their own.
fn check_packed(job: &Job, files: &[Readable]) -> Result<()> {
    match files.iter().find(|file| file.page_bytes.is_some()) {
        Some(file) if files.len() > 1 => Err(Error::message(format!(
            "job [{}]: {} is a packed field: give it a section of its own, beside no other file",
            job.name,
            file.path.display()
        ))),
        _ => Ok(()),
    }
}

/// The length of a regular file or of a block device; everything else is refused without waiting.
fn file_bytes(path: &Path) -> Result<u64> {
    use std::io::{Seek, SeekFrom};
    use std::os::unix::fs::FileTypeExt;
    let kind = fs::metadata(path).at("cannot read", path)?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(Error::message(format!(
            "{} is neither a regular file nor a block device",
            path.display()
        )));
    }
    let mut file = fs::File::open(path).at("cannot open", path)?;
    file.seek(SeekFrom::End(0)).at("cannot measure", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str, dir: &Path) -> Result<Plan> {
        let file = dir.join("f");
        fs::write(&file, vec![0; 1 << 20]).expect("written");
        let jobs = JobFile::parse(Path::new("t.fio"), text.as_bytes())?;
        Plan::new(&jobs, &[file])
    }

    #[test]
    fn a_stonewall_waits_for_all_before_it_and_is_joined_by_what_follows() {
        let dir = tempfile::tempdir().expect("a directory");
        let text = "[a]\n[b]\nnumjobs=3\n[c]\n[d]\nstonewall\n[e]\n[f]\nwait_for_previous=1";
        let plan = plan(text, dir.path()).expect("a good plan");
        let names: Vec<String> = plan.steps.iter().map(Step::name).collect();
        assert_eq!(names, ["a, b, c", "d, e", "f"]);
        let first: Vec<u32> = plan.steps[0].loads.iter().map(|l| l.first_thread).collect();
        assert_eq!(first, [0, 1, 4]);
        assert_eq!(plan.files.len(), 1);
    }

    #[test]
    fn too_many_threads_at_once_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let error = |text: &str| plan(text, dir.path()).err().map(|e| e.to_string());
        assert_eq!(
            error("[a]\nnumjobs=200\n[b]\nnumjobs=57").as_deref(),
            Some("job [b]: more than 256 jobs at once: separate sections by stonewall")
        );
        assert_eq!(error("[a]\nnumjobs=200\n[b]\nnumjobs=57\nstonewall"), None);
    }

    #[test]
    fn files_that_are_not_there_are_made_for_the_largest_share_and_go_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let text = format!(
            "[x]\nfilename={a}:{b}\nsize=64k\n[y]\nfilename={a}\nsize=48k",
            a = a.display(),
            b = b.display()
        );
        let jobs = JobFile::parse(Path::new("t.fio"), text.as_bytes()).expect("good");
        let plan = Plan::new(&jobs, &[]).expect("made");
        assert_eq!(plan.files, [(a.clone(), 48 << 10), (b.clone(), 32 << 10)]);
        assert_eq!(plan.steps[0].loads[0].region_bytes(), 64 << 10);
        drop(plan);
        assert!(!a.exists() && !b.exists());
    }

    #[test]
    fn jobs_that_fio_gives_a_file_each_need_a_name() {
        let jobs = JobFile::parse(Path::new("t.fio"), b"[x]\nnumjobs=2\nsize=1m").expect("good");
        let error = Plan::new(&jobs, &[]).err().map(|e| e.to_string());
        assert!(error.is_some_and(|e| e.starts_with("job [x] has numjobs=2 and no filename")));
    }
}
