//! The loads of a step as fio's command line.

use std::path::Path;

use super::Memory;
use crate::bench::load::Load;
use crate::bench::region::Region;
use crate::job::BlockSizes;

pub(super) fn arguments(loads: &[Load], memory: Memory) -> Vec<String> {
    let mut arguments: Vec<String> = [
        // Whatever happens, nothing is written, extended or made.
        "--readonly",
        "--allow_file_create=0",
        "--ioengine=io_uring",
        "--direct=1",
        "--group_reporting",
        "--lat_percentiles=1",
        "--clat_percentiles=0",
        "--percentile_list=50:99:99.9",
        "--output-format=json",
    ]
    .map(str::to_owned)
    .into();
    for (number, load) in loads.iter().enumerate() {
        arguments.extend(section(number, load, memory.of(load)));
    }
    arguments
}

fn section(number: usize, load: &Load, memory: Memory) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut add = |name: &str, value: &dyn std::fmt::Display| {
        arguments.push(format!("--{name}={value}"));
    };
    add("name", &format_args!("job{number}"));
    // A report of its own, over all of its jobs.
    add("new_group", &1);
    let files: Vec<String> = load.files.iter().map(|file| escape(&file.path)).collect();
    add("filename", &files.join(":"));
    if load.random_file {
        add("file_service_type", &"random");
    }
    add("rw", &load.rw_text());
    if load.identical {
        add("rw_sequencer", &"identical");
    }
    match &load.sizes {
        BlockSizes::One(bytes) => add("bs", bytes),
        BlockSizes::Range { min, max } => add("bsrange", &format_args!("{min}-{max}")),
        BlockSizes::Split { text, .. } => add("bssplit", text),
    }
    if load.random_percent < 100 {
        add("percentage_random", &load.random_percent);
    }
    region(load, &mut add);
    add("iodepth", &load.iodepth);
    add("numjobs", &load.numjobs);
    add("fixedbufs", &u8::from(load.fixedbufs));
    add("registerfiles", &u8::from(load.registerfiles));
    add("iodepth_batch_submit", &load.batch_submit);
    add("iodepth_batch_complete_min", &load.batch_complete_min);
    add("iodepth_batch_complete_max", &load.batch_complete_max);
    add("iodepth_low", &load.iodepth_low);
    add("norandommap", &u8::from(load.norandommap));
    add("randseed", &load.seed.max(1));
    if let Some(runtime) = load.runtime {
        add("runtime", &format_args!("{}ms", runtime.as_millis().max(1)));
    }
    if load.time_based {
        add("time_based", &1);
    }
    if let Some(rate) = load.rate_iops {
        add("rate_iops", &rate);
    }
    if let Some(thinktime) = load.thinktime {
        add(
            "thinktime",
            &format_args!("{}us", thinktime.time.as_micros()),
        );
        add("thinktime_blocks", &thinktime.blocks);
        let counted = match thinktime.by_issue {
            true => "issue",
            false => "complete",
        };
        add("thinktime_blocks_type", &counted);
    }
    if load.thread {
        add("thread", &1);
    }
    match (memory, &load.iomem) {
        (Memory::Huge, _) => add("iomem", &"mmaphuge"),
        (Memory::Default, Some(iomem)) => add("iomem", iomem),
        (Memory::Default, None) => {}
    }
    arguments
}

/// The part of the files that is read, and how much of it.
fn region(load: &Load, add: &mut dyn FnMut(&str, &dyn std::fmt::Display)) {
    let same = |pair: &[Region]| {
        let of = |region: &Region| (region.offset, region.bytes);
        of(&pair[0]) == of(&pair[1])
    };
    // fio gives each file the same share; without a size each is read whole.
    if load.files.windows(2).all(same) {
        add("size", &load.region_bytes());
        add("offset", &load.files.first().map_or(0, |file| file.offset));
    } else {
        // Shares of files of several lengths.
        load.size.iter().for_each(|size| add("size", size));
        load.offset.iter().for_each(|offset| add("offset", offset));
        add("offset_align", &load.share_unit);
    }
    load.io_size.iter().for_each(|size| add("io_size", size));
}

/// fio separates file names by `:`.
fn escape(path: &Path) -> String {
    path.to_string_lossy().replace(':', "\\:")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::load::tests::load;
    use std::process::Command;

    fn one() -> Load {
        let job = "[j]\nrw=randread\niodepth=32\nruntime=1500ms\ntime_based";
        let mut load = load(job, &[1 << 20]).expect("fits");
        load.files[0].path = "/d/a:b".into();
        load
    }

    fn mixed() -> Load {
        let job = "[j]\nrw=randread\nbssplit=4k/60:64k\npercentage_random=30\nnumjobs=2\n\
            file_service_type=random\nsize=1m";
        load(job, &[1 << 20, 1 << 20]).expect("fits")
    }

    #[test]
    fn fio_may_only_read_and_is_batched_both_ways() {
        let arguments = arguments(&[one()], Memory::Huge);
        for expected in [
            "--readonly",
            "--allow_file_create=0",
            "--filename=/d/a\\:b",
            "--bs=4096",
            "--fixedbufs=1",
            "--registerfiles=1",
            "--iodepth_batch_submit=16",
            "--iodepth_batch_complete_min=1",
            "--iodepth_batch_complete_max=32",
            "--runtime=1500ms",
            "--time_based=1",
            "--iomem=mmaphuge",
        ] {
            assert!(
                arguments.iter().any(|a| a == expected),
                "{expected} in {arguments:?}"
            );
        }
    }

    #[test]
    fn what_a_job_says_of_places_and_pauses_reaches_fio_and_is_understood() {
        let of = |job: &str, files: &[u64]| {
            let load = load(&format!("[j]\nfilename=f0\n{job}"), files).expect("fits");
            let arguments = arguments(&[load], Memory::Default);
            let parsed = Command::new("fio")
                .arg("--parse-only")
                .args(&arguments)
                .output();
            match parsed {
                Ok(output) => assert!(output.status.success(), "{output:?}"),
                Err(e) => println!("SKIPPED: fio: {e}"),
            }
            arguments
        };
        let whole = of("bs=16k,4k\nrw=read:8k\noffset=33%\nsize=25%", &[1 << 20]);
        let unequal = of(
            "bs=16k,4k\noffset=33%\nsize=25%\nio_size=70k",
            &[1 << 20, 2 << 20],
        );
        let random = of(
            "rw=randread:8\nrw_sequencer=identical\nthinktime=2ms\nthinktime_blocks=3\nio_size=40%",
            &[1 << 20],
        );
        for (arguments, expected) in [
            (&whole, "--rw=read:8192"),
            (&whole, "--offset=348160"),
            (&whole, "--size=262144"),
            (&unequal, "--offset=33%"),
            (&unequal, "--offset_align=4096"),
            (&unequal, "--size=25%"),
            (&unequal, "--io_size=71680"),
            (&random, "--rw=randread:8"),
            (&random, "--rw_sequencer=identical"),
            (&random, "--thinktime=2000us"),
            (&random, "--thinktime_blocks=3"),
            (&random, "--thinktime_blocks_type=complete"),
            (&random, "--io_size=40%"),
        ] {
            assert!(
                arguments.iter().any(|a| a == expected),
                "{expected} in {arguments:?}"
            );
        }
    }

    #[test]
    fn sections_are_jobs_of_one_fio_each_in_a_group_of_its_own() {
        let arguments = arguments(&[one(), mixed()], Memory::Default);
        let place = |of: &str| arguments.iter().position(|a| a == of);
        let second = place("--name=job1").expect("a second job");
        assert!(place("--name=job0").is_some_and(|first| first < second));
        let groups = arguments.iter().filter(|a| *a == "--new_group=1").count();
        assert_eq!(groups, 2);
        for expected in [
            "--filename=f0:f1",
            "--file_service_type=random",
            "--bssplit=4k/60:64k",
            "--percentage_random=30",
            "--size=1048576",
            "--numjobs=2",
        ] {
            assert!(
                arguments[second..].iter().any(|a| a == expected),
                "{expected}"
            );
        }
    }
}
