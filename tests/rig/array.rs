//! A packed field over four controllers: what tests of it share, and that it is read by four loops.

use crate::content::bytes;
use crate::several::loops;
use ringfield::{Engine, Field, Pack, SafeTensors};
use std::path::PathBuf;

/// Bytes of a row, and of a page.
pub(crate) const ROW: u64 = 4096;
pub(crate) const PAGE: u64 = 16 << 10;
const SEED: u64 = 77;

/// A tensor of `rows` rows, packed over the rig's four disks.
pub(crate) struct Striped {
    pub(crate) members: Vec<PathBuf>,
    pub(crate) rows: u64,
}

impl Striped {
    pub(crate) fn new(rows: u64) -> Striped {
        let header = format!(
            r#"{{"t":{{"dtype":"U8","shape":[{rows},{ROW}],"data_offsets":[0,{}]}}}}"#,
            rows * ROW
        );
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(bytes(SEED, 0, rows * ROW));
        let source = PathBuf::from("/tmp/striped.safetensors");
        std::fs::write(&source, file).unwrap();
        let members: Vec<PathBuf> = (0..4)
            .map(|n| format!("/rig/disk{n}/striped.rf").into())
            .collect();
        Pack::new([&source])
            .page_size(PAGE)
            .replace(true)
            .run(&members, |_| true)
            .unwrap();
        std::fs::remove_file(&source).unwrap();
        Striped { members, rows }
    }

    pub(crate) fn open(&self, engine: &Engine) -> (Field, Vec<u64>) {
        let field = engine.open_array(&self.members).unwrap();
        let tensor = SafeTensors::of(&field, 0)
            .unwrap()
            .tensor("t")
            .unwrap()
            .unwrap();
        let starts = (0..self.rows).map(|row| tensor.rows_at(row..row + 1).start);
        let starts = starts.collect();
        (field, starts)
    }
}

pub(crate) fn row(number: u64) -> Vec<u8> {
    bytes(SEED, number * ROW, (number + 1) * ROW)
}

#[test]
#[ignore = "in the rig: rig/run"]
fn a_field_striped_over_four_controllers_is_read_by_four_loops() {
    let striped = Striped::new(2000);
    let engine = Engine::builder()
        .dram_budget(8 << 20)
        .page_size(PAGE)
        .build()
        .unwrap();
    let (field, starts) = striped.open(&engine);
    assert_eq!(loops(), 4);
    let ranges: Vec<_> = starts.iter().map(|&start| start..start + ROW).collect();
    let mut batch = engine.batch(64).unwrap();
    for (k, some) in ranges.chunks(64).enumerate() {
        field.read_many(some, &mut batch).unwrap();
        for place in 0..some.len() {
            assert!(batch.view(place).unwrap().to_vec() == row((k * 64 + place) as u64));
        }
    }
    assert!(engine.stats().checked_pages > 400, "{}", engine.stats());
    batch.clear();
    drop((batch, field, engine));
    assert_eq!(loops(), 0);
}
