//! What the command prints, as it is in JSON.

use ringfield::kernels::Isa;
use serde::Serialize;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The instruction set that was measured.
    pub(super) isa: &'static str,
    /// What multiplies eight-bit integers beside it.
    pub(super) integers: &'static str,
    pub(super) isas: Vec<Available>,
    pub(super) threads: u16,
    /// `None` where the system does not say.
    pub(super) l2_cache_bytes: Option<usize>,
    pub(super) last_cache_bytes: Option<usize>,
    /// Of each thread's matrices.
    pub(super) matrix_bytes: InBoth<usize>,
    /// Whether the large matrix of the kernels lies in huge pages: they are asked for.
    pub(super) huge_pages: bool,
    /// The best of the loops that only read.
    pub(super) read_gb_per_s: InBoth<f64>,
    pub(super) reads: Vec<Read>,
    pub(super) checksums: Vec<Checksum>,
    pub(super) kernels: Vec<Row>,
}

#[derive(Debug, Serialize)]
pub(super) struct Available {
    pub(super) isa: &'static str,
    pub(super) available: bool,
}

impl Available {
    pub(super) fn all() -> Vec<Available> {
        let available = |isa: Isa| Available {
            isa: isa.name(),
            available: isa.is_available(),
        };
        Isa::ALL.map(available).into()
    }
}

/// Something of the matrix of the second-level cache's size, and of the one that no cache holds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct InBoth<T> {
    pub(super) l2: T,
    pub(super) dram: T,
}

impl InBoth<f64> {
    pub(super) fn times(self, by: f64) -> InBoth<f64> {
        InBoth {
            l2: self.l2 * by,
            dram: self.dram * by,
        }
    }

    pub(super) fn of(self, most: InBoth<f64>) -> InBoth<f64> {
        InBoth {
            l2: self.l2 / most.l2,
            dram: self.dram / most.dram,
        }
    }
}

/// A loop that only reads.
#[derive(Debug, Serialize)]
pub(super) struct Read {
    pub(super) pages: &'static str,
    pub(super) prefetched: bool,
    pub(super) gb_per_s: InBoth<f64>,
}

/// The checksum of packed fields over pages of one size.
#[derive(Debug, Serialize)]
pub(super) struct Checksum {
    pub(super) page_bytes: usize,
    pub(super) gb_per_s: InBoth<f64>,
    /// Of the best loop that only reads.
    pub(super) share: InBoth<f64>,
}

/// A kernel over rows of one type.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) r#type: &'static str,
    pub(super) kernel: &'static str,
    /// Of the weights as they are stored.
    pub(super) gb_per_s: InBoth<f64>,
    /// A product and a sum for each weight; `None` where nothing is multiplied.
    pub(super) gflop_per_s: Option<InBoth<f64>>,
    /// Of the best loop that only reads.
    pub(super) share: InBoth<f64>,
}
