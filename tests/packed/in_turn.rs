//! Pages that are there at the same time are checked in turn: who has enough results gets them before the others are checked.

use crate::made::{Made, TensorOf, builder, gguf};
use ringfield::sim::{Disk, Machine, Simulation};
use ringfield::{ArrayOptions, TensorType};

const PAGE: u64 = 64 << 10;
const PAGES: u64 = 12;

#[test]
fn a_host_gets_its_first_results_before_all_pages_are_checked() {
    let tensors: [TensorOf<'_>; 1] = [("token_embd.weight", &[16_384, 32], TensorType::F32)];
    let made = Made::new(&gguf(&tensors, 5, Some(0)), 1, PAGE);
    let disk = Disk::new(3);
    disk.add_file("one", made.members[0].clone(), 512).unwrap();
    let mut machine = Machine::default();
    machine.frames_max = 32;
    let mut simulation = Simulation::on(&disk, builder(PAGE), machine).unwrap();
    let field = simulation
        .open_array(&["one"], ArrayOptions::new())
        .unwrap();
    // The directory.
    simulation.run(field.read_async(0..PAGE)).unwrap().unwrap();

    let mut batch = simulation.engine().batch(PAGES as usize).unwrap();
    for page in 1..=PAGES {
        let range = page * PAGE..(page + 1) * PAGE;
        batch.submit(&field, range, page).unwrap();
    }
    batch.flush();
    while simulation.step() {}
    let checked = || simulation.engine().stats().checked_pages;
    let before = checked();
    assert_eq!(batch.wait(1), 4);
    assert_eq!(checked() - before, 4);
    // Who asks for more gets more.
    assert_eq!(batch.wait(5), 8);
    assert_eq!(checked() - before, 8);
    // What has not been checked is forgotten like any other read.
    let mut seen = 0;
    for _ in 0..3 {
        let ready = batch.next().unwrap();
        let page = ready.tag() as usize;
        let wanted = &made.field[page * PAGE as usize..(page + 1) * PAGE as usize];
        assert!(ready.view().unwrap().to_vec() == wanted);
        seen += 1;
    }
    assert_eq!(batch.pending(), PAGES as usize - seen);
    batch.clear();
    assert_eq!(batch.wait(1), 0);
    let stats = simulation.engine().stats();
    assert_eq!((stats.frames_pinned, stats.frames_loading), (0, 0));
    // And can be read again.
    batch
        .submit(&field, PAGES * PAGE..(PAGES + 1) * PAGE, 7)
        .unwrap();
    assert_eq!(batch.wait(1), 1);
    assert_eq!(batch.next().unwrap().tag(), 7);
}
