//! A tensor's elements, through the engine and the kernels.

use ringfield::kernels::Kernels;

use super::EngineContext;
use super::source::Source;
use crate::args::ModelFiles;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::model::plain;

/// Bytes of the tensor read at a time, at most.
const PIECE_BYTES: usize = 1 << 20;

/// Gives `write` the elements of a tensor, some at a time and in the order of the file.
///
/// # Errors
/// A model that cannot be read or has no such tensor, a type that the kernels do not have, what `write` fails with.
pub(crate) fn elements_of_tensor(
    files: &ModelFiles,
    name: &str,
    mut write: impl FnMut(&[f32]) -> Result<()>,
) -> Result<()> {
    let source = Source::of(files)?;
    let engine = source.engine_for_headers()?;
    let model = source.gguf(&engine)?;
    let found = model
        .tensor(name)
        .engine("cannot read the tensors' names")?;
    let Some(tensor) = found else {
        return Err(Error::message(format!(
            "{0} has no tensor `{1}`; `ringfield gguf list {0}` names those it has",
            files.model.display(),
            plain(name)
        )));
    };
    let Some(format) = tensor.kind().row_format() else {
        return Err(Error::message(format!(
            "`{}` is {}, whose elements cannot be computed",
            plain(name),
            tensor.kind()
        )));
    };
    // Rows are whole blocks, one after the other: so are pieces.
    let blocks = PIECE_BYTES / format.block_bytes();
    let mut packed = vec![0; blocks * format.block_bytes()];
    let mut elements = vec![0.0; blocks * format.block_elements()];
    let kernels = Kernels::new();
    let _plan = engine.plan(&[tensor.at()]);
    for run in tensor.runs() {
        let mut start = run.start;
        while start < run.end {
            interrupt::check()?;
            let end = run.end.min(start + packed.len() as u64);
            let view = tensor.field().read(start..end).engine("cannot read")?;
            let mut len = 0;
            for chunk in view.chunks() {
                packed[len..len + chunk.len()].copy_from_slice(chunk);
                len += chunk.len();
            }
            let elements = &mut elements[..len / format.block_bytes() * format.block_elements()];
            kernels
                .dequantize(format, &packed[..len], elements)
                .map_err(Error::message)?;
            write(elements)?;
            start = end;
        }
    }
    Ok(())
}
