//! Packed fields: made, unpacked, verified, looked at.

use std::path::PathBuf;
use std::time::Instant;

use ringfield::{Engine, Error as Refused, Pack, PackedField, PackedInfo, Progress, Verify};

use super::EngineContext;
use crate::args::{InspectArgs, PackArgs, UnpackArgs, VerifyFieldArgs};
use crate::cgroup;
use crate::error::{Error, Result};
use crate::inspect::{Facts, Inspected, Original, Place};
use crate::interrupt;
use crate::pack::Packing;
use crate::routing::ExpertOrder;
use crate::unpack::Unpacked;
use crate::verify::{Damage, Verification};

/// Pages of the pool, for those that are read ahead and those that are written; and what the engine needs beside them.
const UNPACK_PAGES: u64 = 96;
const BESIDE_PAGES_BYTES: u64 = 32 << 20;
const METADATA_BYTES: u64 = 24 << 20;
/// Pages of the pool, to look at an index.
const INSPECT_PAGES: u64 = 16;

/// Told how far something is: bytes done, bytes in all.
type Each<'p> = &'p mut dyn FnMut(u64, u64);

/// Packs a model. Nothing is left where it fails or is interrupted.
pub(crate) fn pack(args: &PackArgs, order: &ExpertOrder, each: Each) -> Result<Packing> {
    let begin = Instant::now();
    let pack = Pack::new(&args.model)
        .page_size(args.page_size.0)
        .replace(args.replace)
        .expert_order(|layer, experts| order.places(layer, experts));
    // The order is asked for before anything is written.
    let packed = pack.run(&args.out, |now| order.is_good() && goes_on(each, now));
    order.check()?;
    let packed = ended(packed, "cannot pack")?;
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Packing {
        files: args
            .out
            .iter()
            .map(|path| path.display().to_string())
            .collect(),
        tensors: packed.tensors,
        source_bytes: packed.source_bytes,
        packed_bytes: packed.packed_bytes,
        padding_bytes: packed.padding_bytes,
        hole_bytes: packed.hole_bytes,
        checksum_bytes: packed.checksum_bytes,
        page_bytes: args.page_size.0,
        pages: packed.pages,
        ordered_layers: order.layers(),
        seconds,
        bw_bytes: packed.source_bytes as f64 / seconds.max(1e-9),
    })
}

/// Writes the files that were packed. Where one of them is there already, nothing is written unless it may be replaced.
pub(crate) fn unpack(args: &UnpackArgs, each: Each) -> Result<Unpacked> {
    let begin = Instant::now();
    let packed = open(&args.field, UNPACK_PAGES)?;
    let files = packed.files().engine("cannot unpack")?;
    for file in &files {
        let path = args.to.join(&file.name);
        if !args.replace && path.symlink_metadata().is_ok() {
            return Err(Error::message(format!(
                "{} is there already: --replace puts the file that was packed in its place, --to DIR elsewhere",
                crate::model::plain(&path.display().to_string())
            )));
        }
    }
    let paths = packed.unpack(&args.to, args.replace, |now| goes_on(each, now));
    let paths = ended(paths, "cannot unpack")?;
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Unpacked {
        files: paths
            .iter()
            .map(|path| path.display().to_string())
            .collect(),
        bytes,
        seconds,
        bw_bytes: bytes as f64 / seconds.max(1e-9),
    })
}

/// Reads all of a packed field.
pub(crate) fn verify(args: &VerifyFieldArgs, each: Each) -> Result<Verification> {
    let begin = Instant::now();
    let mut verify = Verify::new(&args.field).repair(args.repair);
    if let Some(rate) = args.rate {
        verify = verify.rate(rate.0);
    }
    let verified = ended(verify.run(|now| goes_on(each, now)), "cannot verify")?;
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Verification {
        files: args
            .field
            .iter()
            .map(|path| path.display().to_string())
            .collect(),
        pages: verified.pages,
        bytes: verified.bytes,
        whole: verified.is_whole(),
        damage_count: verified.damage_count,
        damages: verified
            .damages
            .into_iter()
            .map(|damage| Damage {
                file: damage.path.display().to_string(),
                page: damage.page,
                member: damage.member,
                offset: damage.offset,
                cause: damage.what,
            })
            .collect(),
        repaired: verified.repaired,
        missing: verified.missing,
        seconds,
        bw_bytes: verified.bytes as f64 / seconds.max(1e-9),
    })
}

/// What the files say of themselves; what is in the field where all of them are there.
pub(crate) fn inspect(args: &InspectArgs) -> Result<Inspected> {
    let infos = args
        .field
        .iter()
        .map(|path| PackedInfo::read(path).engine("cannot inspect"))
        .collect::<Result<Vec<_>>>()?;
    let Some(first) = infos.first() else {
        return Err(Error::message("no file was named"));
    };
    let there = |member: &u32| infos.iter().any(|info| info.member == *member);
    let one = infos.iter().all(|info| info.array == first.array);
    let missing: Vec<u32> = (0..first.members).filter(|member| !there(member)).collect();
    let mut inspected = Inspected {
        array: first.array.clone(),
        generation: first.generation,
        creator: first.creator.clone(),
        bytes: first.array_bytes,
        page_bytes: first.page_bytes,
        pages: first.array_bytes.div_ceil(first.page_bytes),
        members: first.members,
        files: args
            .field
            .iter()
            .zip(&infos)
            .map(|(path, info)| facts(path, info))
            .collect(),
        missing,
        packed: Vec::new(),
        tensors: None,
    };
    // Files of different arrays are an error, which opening them names.
    if inspected.missing.is_empty() || !one {
        let packed = open(&args.field, INSPECT_PAGES)?;
        inspected.packed = originals(&packed)?;
        inspected.tensors = args.tensors.then(|| places(&packed)).transpose()?;
    }
    Ok(inspected)
}

fn facts(path: &std::path::Path, info: &PackedInfo) -> Facts {
    Facts {
        path: path.display().to_string(),
        member: info.member,
        pages: info.pages,
        directory_pages: info.directory_pages,
        directory_levels: info.directory_levels,
        data_at: info.data_at,
        bytes: info.file_bytes,
        damaged: info.damaged.clone(),
    }
}

fn originals(packed: &PackedField) -> Result<Vec<Original>> {
    let files = packed.files().engine("cannot read the index")?;
    let original = |file: ringfield::PackedFile| Original {
        name: file.name,
        format: file.format.to_string(),
        bytes: file.bytes,
        tensors: file.tensors,
    };
    Ok(files.into_iter().map(original).collect())
}

fn places(packed: &PackedField) -> Result<Vec<Place>> {
    let place = |tensor: ringfield::PackedTensor| Place {
        name: tensor.name,
        file: tensor.file,
        role: tensor.role.to_string(),
        layer: tensor.layer,
        experts: tensor.experts,
        kind: tensor.kind,
        shape: tensor.shape,
        bytes: tensor.bytes,
        start: tensor.start,
    };
    let tensors = packed.tensors().map(|tensor| tensor.map(place));
    tensors
        .collect::<ringfield::Result<_>>()
        .engine("cannot read the index")
}

/// Opens a packed field in an engine with room for so many of its pages.
fn open(files: &[PathBuf], pages: u64) -> Result<PackedField> {
    let Some(first) = files.first() else {
        return Err(Error::message("no file was named"));
    };
    const OPENING: &str = "cannot open the field";
    let info = PackedInfo::read(first).engine(OPENING)?;
    let wanted = pages * info.page_bytes + BESIDE_PAGES_BYTES;
    let budget = cgroup::budget_bytes(wanted);
    let engine = Engine::builder()
        .page_size(info.page_bytes)
        .dram_budget(budget)
        .metadata_budget(METADATA_BYTES.min(budget / 2))
        .build()
        .engine("the engine cannot be built")?;
    PackedField::open(&engine, files).map_err(|error| match error {
        Refused::MissingMember {
            path,
            member,
            members,
            ..
        } => Error::message(format!(
            "{}: member {member} of {members} is missing: name the files of all members",
            path.display()
        )),
        source => Error::Engine {
            what: OPENING.into(),
            source,
        },
    })
}

/// Tells how far it is; false where somebody asked to stop.
fn goes_on(each: &mut dyn FnMut(u64, u64), now: Progress) -> bool {
    each(now.done_bytes, now.total_bytes);
    !interrupt::requested()
}

/// The engine ends with `Cancelled` where [`goes_on`] said so.
fn ended<T>(result: ringfield::Result<T>, doing: &str) -> Result<T> {
    match result {
        Err(Refused::Cancelled) => Err(Error::Interrupted),
        result => result.engine(doing),
    }
}
