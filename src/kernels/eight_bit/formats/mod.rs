//! How each packed format is multiplied: sixteen blocks at a time.

mod blocks_256;
mod blocks_32;
mod q8_0;
mod tiles_256;
mod tiles_32;

use super::activations::Activations;
use super::integers::{FloatsOf, Integers};
use super::single::Single;
use crate::kernels::simd::Simd;

/// A packed format.
pub(super) trait Packed {
    /// An array of bytes.
    type Block: Copy;
    /// A block that is worth nothing.
    const NOTHING: Self::Block;

    /// The blocks of some bytes, and what is left of these.
    fn split(bytes: &[u8]) -> (&[Self::Block], &[u8]);

    /// A single column of activations, as the format needs it.
    type Column<'x>;

    fn column(x: &Single) -> Self::Column<'_>;

    /// `p` of sixteen blocks with what is next in the column.
    fn products<N: Integers>(
        n: N,
        blocks: &[Self::Block; 16],
        column: &mut Self::Column<'_>,
    ) -> FloatsOf<N>;

    /// A block of one of several columns.
    type Record: Copy;

    fn records(x: &Activations) -> &[Self::Record];

    /// Blocks of sixteen rows, taken apart.
    type Tile;
    /// How many there is room for, of each row.
    const TILE_BLOCKS: usize;

    fn tile() -> Self::Tile;

    /// Takes a block of each row apart, into number `at` of the tile.
    fn fill<N: Integers>(n: N, blocks: [&Self::Block; 16], tile: &mut Self::Tile, at: usize);

    /// `p` of number `at` of each tile with some columns: of each row in its lane.
    fn tile_products<N: Integers, const R: usize, const C: usize>(
        n: N,
        tiles: &[Self::Tile; R],
        at: usize,
        x: [&Self::Record; C],
    ) -> [[FloatsOf<N>; C]; R];
}

/// Makes a format [`Packed`], with the functions `fill` and `tile_products` of its file. `$products` becomes a body.
macro_rules! packed {
    ($name:ident, $bytes:literal bytes, $Column:ident, |$x:ident| $column:expr, $Record:ident, $records:ident, $Tile:ident, |$n:ident, $blocks:ident, $to:ident| $products:expr) => {
        impl Packed for $name {
            type Block = [u8; $bytes];
            const NOTHING: [u8; $bytes] = [0; $bytes];

            #[inline(always)]
            fn split(bytes: &[u8]) -> (&[[u8; $bytes]], &[u8]) {
                bytes.as_chunks()
            }

            type Column<'x> = $Column<'x>;

            fn column($x: &Single) -> $Column<'_> {
                $column
            }

            #[inline(always)]
            fn products<N: Integers>(
                $n: N,
                $blocks: &[[u8; $bytes]; 16],
                $to: &mut $Column<'_>,
            ) -> FloatsOf<N> {
                $products
            }

            type Record = $Record;

            fn records(x: &Activations) -> &[$Record] {
                &x.$records
            }

            type Tile = $Tile;
            const TILE_BLOCKS: usize = TILE;

            #[inline(always)]
            fn tile() -> $Tile {
                $Tile::new()
            }

            #[inline(always)]
            fn fill<N: Integers>(n: N, blocks: [&[u8; $bytes]; 16], tile: &mut $Tile, at: usize) {
                fill::<N, $name, $bytes>(n, blocks, tile, at);
            }

            #[inline(always)]
            fn tile_products<N: Integers, const R: usize, const C: usize>(
                n: N,
                tiles: &[$Tile; R],
                at: usize,
                x: [&$Record; C],
            ) -> [[FloatsOf<N>; C]; R] {
                tile_products::<N, $name, $bytes, R, C>(n, tiles, at, x)
            }
        }
    };
}
use packed;

/// The half-precision numbers at `at` of blocks.
#[inline(always)]
fn halves_of<N: Integers, const B: usize>(n: N, blocks: [&[u8; B]; 16], at: usize) -> FloatsOf<N> {
    let mut halves = [0; 32];
    let (to, _) = halves.as_chunks_mut::<2>();
    for (to, block) in to.iter_mut().zip(blocks) {
        *to = [block[at], block[at + 1]];
    }
    n.floats().load_f16(&halves)
}

/// Runs an expression with `$T` as the type of a packed format; nothing for a format of floats.
macro_rules! with_packed {
    ($format:expr, $T:ident => $e:expr) => {
        $crate::kernels::eight_bit::formats::with_packed!(
            $format, $T => $e; Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4
        )
    };
    ($format:expr, $T:ident => $e:expr; $($name:ident)*) => {
        match $format {
            RowFormat::F32 | RowFormat::F16 | RowFormat::Bf16 => {}
            $(RowFormat::$name => {
                type $T = $crate::kernels::formats::$name;
                $e
            })*
        }
    };
}
pub(super) use with_packed;
