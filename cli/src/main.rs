//! The `ringfield` command: models that go on with a text, models packed into fields, a demo on the user's own disk, a
//! doctor, how fast the arithmetic is, fio jobs side by side, and what is in model files.
//!
//! Everything that calls the engine is in [`engine_run`], what measures its arithmetic in [`kernels`]; the rest makes
//! files, limits memory, runs the rivals and prints.

mod args;
mod bench;
mod cgroup;
mod console;
mod content;
mod demo;
mod direct;
mod doctor;
mod engine_run;
mod error;
mod fio_job;
mod inspect;
mod interrupt;
mod job;
mod kernels;
mod made_file;
mod model;
mod os;
mod pack;
mod perplexity;
mod routing;
mod run;
mod size;
mod tensor;
mod unpack;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command, GgufAction};
use model::Format;

fn main() -> ExitCode {
    // Ends with status 2 and a usage line by itself where the command line is wrong.
    let cli = Cli::parse();
    if !matches!(cli.command, Command::DemoWorker(_)) {
        interrupt::catch();
    }
    let result = match &cli.command {
        Command::Run(args) => run::run(args),
        Command::Plan(args) => run::plan(args),
        Command::Perplexity(args) => perplexity::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Kernels(args) => kernels::run(args),
        Command::Bench(args) => bench::run(args),
        Command::FioJob(args) => fio_job::run(args),
        Command::Pack(args) => pack::run(args),
        Command::Unpack(args) => unpack::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Gguf { action } => match action {
            GgufAction::Model(action) => model::run(Format::Gguf, action),
            GgufAction::Tensor(args) => tensor::run(args),
        },
        Command::Safetensors { action } => model::run(Format::Safetensors, action),
        Command::DemoWorker(args) => demo::worker::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(error.report()),
    }
}
