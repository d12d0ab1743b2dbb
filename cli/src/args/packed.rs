//! The commands about packed fields.

use std::path::PathBuf;

use clap::Args;

use crate::size::Size;

#[derive(Debug, Args)]
pub(crate) struct PackArgs {
    /// The model: a GGUF file, of a set of files any one; or all safetensors files of one model
    #[arg(required = true)]
    pub(crate) model: Vec<PathBuf>,
    /// The packed field to make; given several times, its pages lie on these files in turns: each on a disk of its own
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) out: Vec<PathBuf>,
    /// Size of its pages, a power of two from 4KiB to 4MiB
    #[arg(long, value_name = "SIZE", default_value = "256KiB")]
    pub(crate) page_size: Size,
    /// Take the place of files that are there
    #[arg(long)]
    pub(crate) replace: bool,
    /// A log of which experts fired: those that fire together will lie side by side
    ///
    /// Lines of numbers with commas between them, the first one with the names of the columns. `step`, `layer` and
    /// `expert` are needed; `turn` and `phase`, where they are there, tell steps apart too. A row for each expert that
    /// fired, those of one step and layer one after the other. Lines that begin with # are no rows.
    #[arg(long, value_name = "ROUTE.csv")]
    pub(crate) routing: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UnpackArgs {
    /// All files of the packed field
    #[arg(required = true)]
    pub(crate) field: Vec<PathBuf>,
    /// Where to put the files that were packed, each by its own name
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) to: PathBuf,
    /// Take the place of files that are there
    #[arg(long)]
    pub(crate) replace: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyFieldArgs {
    /// The files of the packed field; those that are not named are not looked at
    #[arg(required = true)]
    pub(crate) field: Vec<PathBuf>,
    /// Read at most so many bytes a second [default: as fast as it goes]
    #[arg(long, value_name = "SIZE")]
    pub(crate) rate: Option<Size>,
    /// Write a damaged superblock anew from the other copy; pages have no second copy
    #[arg(long)]
    pub(crate) repair: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The files of the packed field
    #[arg(required = true)]
    pub(crate) field: Vec<PathBuf>,
    /// List the tensors too: what each is for, its layer, and where it lies
    #[arg(long)]
    pub(crate) tensors: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
