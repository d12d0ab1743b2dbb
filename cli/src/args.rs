//! The command line.

mod packed;

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use ringfield::kernels::{Isa, RowFormat};

use crate::demo::worker::WorkerArgs;
use crate::job::EngineSettings;
use crate::size::Size;
pub(crate) use packed::{InspectArgs, PackArgs, UnpackArgs, VerifyFieldArgs};

/// Serves neural weights bigger than memory straight from SSDs.
#[derive(Debug, Parser)]
#[command(
    name = "ringfield",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Goes on with a text, with a model bigger than its memory budget
    Run(RunArgs),
    /// What of a model would stay in memory, what would be read for every token, and how fast
    Plan(PlanArgs),
    /// How well a model foretells a text
    Perplexity(PerplexityArgs),
    /// Reads a file bigger than its memory budget: engine, mmap and pread side by side
    Demo(DemoArgs),
    /// What this machine grants, what it does not, why, and how to change that
    Doctor(DoctorArgs),
    /// How fast this machine's arithmetic is, beside reading its memory
    Kernels(KernelsArgs),
    /// Runs an fio job through the engine, fio, mmap and pread in turns
    Bench(BenchArgs),
    /// Prints the fio job that equals a configuration of the engine, for fio and for bench
    FioJob(FioJobArgs),
    /// Rewrites a model into a packed field: aligned pages with checksums, on one disk or several
    Pack(PackArgs),
    /// Gives back the files that were packed, byte for byte
    Unpack(UnpackArgs),
    /// Reads all of a packed field and compares it with its checksums
    Verify(VerifyFieldArgs),
    /// What a packed field says of itself: pages, members, superblocks, tensors
    Inspect(InspectArgs),
    /// What is in a GGUF model
    Gguf {
        #[command(subcommand)]
        action: GgufAction,
    },
    /// What is in a safetensors file
    Safetensors {
        #[command(subcommand)]
        action: ModelAction,
    },
    /// One row of the demo, in a process of its own
    #[command(hide = true)]
    DemoWorker(WorkerArgs),
}

/// Where a model is.
#[derive(Debug, Args)]
pub(crate) struct ModelFiles {
    /// The model: its file, of a set of files any one; or a packed field
    pub(crate) model: PathBuf,
    /// Another file of a packed field of several; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) member: Vec<PathBuf>,
}

/// How a model is held in memory.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    #[command(flatten)]
    pub(crate) files: ModelFiles,
    /// The engine's memory, a hard limit [default: enough for all of the model, at most half of what is free]
    #[arg(long, value_name = "SIZE")]
    pub(crate) dram: Option<Size>,
    /// Threads that compute [default: one for each processor]
    #[arg(long, value_name = "T")]
    pub(crate) threads: Option<usize>,
    /// What packed weights are multiplied with
    #[arg(long, value_enum, default_value = "eight-bit")]
    pub(crate) arithmetic: Arithmetic,
    /// How the engine reads
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) backend: Backend,
    /// Size of the engine's pages, a power of two from 4KiB to 4MiB [default: a packed field's own, else 64KiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) page_size: Option<Size>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// The text to go on with
    #[arg(short, long, value_name = "TEXT", required_unless_present = "file")]
    pub(crate) prompt: Option<String>,
    /// Read the text from a file; - is standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "prompt")]
    pub(crate) file: Option<PathBuf>,
    /// Take the text as a message to answer, in the form that the model was trained for
    #[arg(long)]
    pub(crate) chat: bool,
    /// Tokens to generate at most
    #[arg(short = 'n', long, value_name = "N", default_value = "128")]
    pub(crate) tokens: usize,
    /// Memory for keys and values, beside --dram
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    pub(crate) kv: Size,
    /// Tokens that prompt and answer may have together [default: as many as --kv holds and the model was trained for]
    #[arg(long, value_name = "N")]
    pub(crate) ctx: Option<usize>,
    /// Keep keys and values in single precision
    #[arg(long)]
    pub(crate) kv_f32: bool,
    /// Run a token first, so that what stays in memory is there when the prompt is: to measure with
    #[arg(long)]
    pub(crate) warm_up: bool,
    /// 0 takes the likeliest token always; higher is more varied
    #[arg(long, value_name = "T", default_value = "0")]
    pub(crate) temp: f32,
    /// Choose among the K likeliest tokens; 0: all
    #[arg(long, value_name = "K", default_value = "40")]
    pub(crate) top_k: usize,
    /// Choose among the likeliest tokens that have the probability P together
    #[arg(long, value_name = "P", default_value = "0.95")]
    pub(crate) top_p: f32,
    /// Choose among tokens at least P times as likely as the likeliest
    #[arg(long, value_name = "P", default_value = "0.05")]
    pub(crate) min_p: f32,
    /// Make what was said in the last 64 tokens less likely; 1: not
    #[arg(long, value_name = "X", default_value = "1")]
    pub(crate) repeat_penalty: f32,
    /// The same seed gives the same text
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// How long to try, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    pub(crate) time: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct PerplexityArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// The text; - is standard input
    pub(crate) file: PathBuf,
    /// Tokens of a chunk
    #[arg(long, value_name = "N", default_value = "512")]
    pub(crate) ctx: usize,
    /// Chunks at most [default: all of the text's]
    #[arg(long, value_name = "N")]
    pub(crate) chunks: Option<usize>,
    /// Keep keys and values in single precision
    #[arg(long)]
    pub(crate) kv_f32: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Read this file, as bytes, instead of making one
    #[arg(long, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,
    /// Size of the file to make, or the most to use of --model [default: 1GiB, all of the model up to 4GiB]
    #[arg(long)]
    pub(crate) size: Option<Size>,
    /// Memory for the engine, and the limit for its rivals [default: 256MiB, or a quarter of a smaller model]
    #[arg(long)]
    pub(crate) budget: Option<Size>,
    /// Where to make the file [default: the current directory]
    #[arg(long, value_name = "DIR", conflicts_with = "model")]
    pub(crate) dir: Option<PathBuf>,
    /// Time for each of the nine measurements
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub(crate) time: Duration,
    /// Print JSON instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The file or directory the models are on
    #[arg(default_value = ".")]
    pub(crate) path: PathBuf,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KernelsArgs {
    /// The instruction set [default: the widest of this processor]
    #[arg(long, value_name = "NAME", ignore_case = true, value_parser = isa())]
    pub(crate) isa: Option<Isa>,
    /// Types of weights [default: all]
    #[arg(long = "type", value_name = "TYPES", value_delimiter = ',', ignore_case = true, value_parser = row_format())]
    pub(crate) types: Vec<RowFormat>,
    /// Threads that compute at the same time
    #[arg(long, value_name = "T", default_value = "1", value_parser = value_parser!(u16).range(1..))]
    pub(crate) threads: u16,
    /// Time for each measurement
    #[arg(long, value_name = "SECONDS", default_value = "0.1", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Print JSON instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// An fio job file of reads; sections run together or, after stonewall, one after the other
    #[arg(value_name = "JOB.fio")]
    pub(crate) job: PathBuf,
    /// Read this file instead of the job's; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// What to run beside the engine
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "PEERS",
        default_value = "fio,mmap,pread"
    )]
    pub(crate) compare: Vec<Peer>,
    /// How often each engine runs, in turns; odd, so that the median is a measurement
    #[arg(long, default_value = "9", value_parser = odd)]
    pub(crate) rounds: u32,
    /// Time of one run [default: the job's]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) runtime: Option<Duration>,
    /// Size of the engine's pages, a power of two from 4KiB to 4MiB [default: the largest that all blocks are made of]
    #[arg(long, value_name = "SIZE")]
    pub(crate) page_size: Option<Size>,
    /// The engine's memory [default: four times what is in flight and 4MiB, at least 16MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) budget: Option<Size>,
    /// The engine's queue depth [default: the job's]
    #[arg(long, value_name = "READS")]
    pub(crate) queue_depth: Option<u32>,
    /// How the engine reads [default: auto]
    #[arg(long, value_enum)]
    pub(crate) backend: Option<Backend>,
    /// Which pages back the engine's pool [default: auto]
    #[arg(long, value_enum)]
    pub(crate) huge_pages: Option<HugePages>,
    /// Send lone reads through the submission loop too, instead of reading in the caller
    #[arg(long)]
    pub(crate) no_inline: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw latency and throughput against depth, of sections that differ in iodepth
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct FioJobArgs {
    /// Reads in flight
    #[arg(long, value_name = "READS", default_value = "32", value_parser = value_parser!(u32).range(1..=4096))]
    pub(crate) queue_depth: u32,
    /// Size of the engine's pages, a power of two from 4KiB to 4MiB
    #[arg(long, value_name = "SIZE", default_value = "64KiB")]
    pub(crate) page_size: Size,
    /// The engine's memory
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    pub(crate) budget: Size,
    /// Size of one read [default: a page]
    #[arg(long, value_name = "SIZE")]
    pub(crate) block_size: Option<Size>,
    /// The order of reads
    #[arg(long, value_enum, default_value = "randread")]
    pub(crate) rw: Order,
    /// Time of one run
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    pub(crate) runtime: Duration,
    /// Read this file, all of it [default: ringfield-bench.dat of 1GiB]
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// How the engine reads; fio always uses io_uring
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) backend: Backend,
    /// Which pages back the engine's pool; explicit ones back fio's buffers too
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) huge_pages: HugePages,
    /// The reads are hints: the engine makes them in its lane for reading ahead
    #[arg(long)]
    pub(crate) prefetch: bool,
    /// Send lone reads through the submission loop too, instead of reading in the caller
    #[arg(long)]
    pub(crate) no_inline: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GgufAction {
    #[command(flatten)]
    Model(ModelAction),
    /// Writes a tensor's elements to a file, as little-endian 32-bit floats
    Tensor(TensorArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelAction {
    /// Metadata and tensors: names, types, shapes, places
    List(ListArgs),
    /// Reads every tensor through the engine, in random order, and compares it with a plain read
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) files: ModelFiles,
    /// Print JSON instead of tables
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) files: ModelFiles,
    /// The engine's memory [default: 16MiB, or half of a smaller memory limit]
    #[arg(long, value_name = "SIZE")]
    pub(crate) dram: Option<Size>,
    /// Size of the engine's pages, a power of two from 4KiB to 4MiB [default: a packed field's own, else 64KiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) page_size: Option<Size>,
    /// How the engine reads [default: every way in turn]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) backend: Vec<Backend>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TensorArgs {
    #[command(flatten)]
    pub(crate) files: ModelFiles,
    /// The tensor, as list names it
    pub(crate) name: String,
    /// Where to write, in the order of the file; what is there is replaced once all is written
    #[arg(long, value_name = "FILE.f32")]
    pub(crate) out: PathBuf,
}

/// An engine to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// fio with its default buffers, with huge pages, and once more against itself; left out where it fails
    Fio,
    /// Page faults on a shared mapping
    Mmap,
    /// O_DIRECT pread from threads
    Pread,
}

/// What packed weights are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arithmetic {
    /// Activations of eight bits, as ggml has them
    EightBit,
    /// Activations of 32 bits: each weight counts as the float that it stands for
    Exact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    Auto,
    Uring,
    Pread,
    Mmap,
}

/// The builder's kinds of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HugePages {
    Auto,
    Explicit,
    Transparent,
    Off,
}

/// fio's two orders of reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    Read,
    Randread,
}

impl Order {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Order::Read => "read",
            Order::Randread => "randread",
        }
    }
}

impl BenchArgs {
    /// What the command line says of the engine.
    pub(crate) fn engine(&self) -> EngineSettings {
        EngineSettings {
            page_size: self.page_size.map(|size| size.0),
            dram_budget: self.budget.map(|size| size.0),
            queue_depth: self.queue_depth,
            backend: self.backend,
            inline_reads: self.no_inline.then_some(false),
            huge_pages: self.huge_pages,
        }
    }
}

fn isa() -> impl TypedValueParser<Value = Isa> {
    named(Isa::ALL, Isa::name)
}

fn row_format() -> impl TypedValueParser<Value = RowFormat> {
    named(RowFormat::ALL, RowFormat::name)
}

/// One of `all`, by its name in letters of either case.
fn named<T, const N: usize>(
    all: [T; N],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    PossibleValuesParser::new(all.map(name)).try_map(move |text| {
        let found = all
            .into_iter()
            .find(|&one| name(one).eq_ignore_ascii_case(&text));
        found.ok_or("not one of these")
    })
}

fn odd(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(rounds) if rounds % 2 == 1 && rounds < 1000 => Ok(rounds),
        _ => Err("an odd number below 1000 was expected".into()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.trim_end_matches('s')
        .parse::<f64>()
        .ok()
        .filter(|&seconds| (0.01..=86_400.0).contains(&seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "a number of seconds from 0.01 to 86400 was expected".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_and_lists_are_understood_everywhere() {
        let cli = Cli::try_parse_from([
            "ringfield",
            "bench",
            "j.fio",
            "--compare",
            "fio,pread",
            "--rounds",
            "3",
            "--page-size",
            "64KiB",
            "--budget",
            "1GiB",
            "--runtime",
            "1.5s",
        ])
        .expect("good");
        let Command::Bench(bench) = cli.command else {
            panic!("bench")
        };
        assert_eq!(bench.compare, [Peer::Fio, Peer::Pread]);
        assert_eq!(
            (bench.page_size, bench.budget),
            (Some(Size(65536)), Some(Size(1 << 30)))
        );
        assert_eq!(bench.runtime, Some(Duration::from_millis(1500)));
        assert!(Cli::try_parse_from(["ringfield", "bench", "j.fio", "--rounds", "4"]).is_err());
    }
}
