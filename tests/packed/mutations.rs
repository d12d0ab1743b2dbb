//! Superblocks and tensor indexes changed at random, with checksums that fit: no panic, no endless loop, and never more
//! memory than there are bytes.

use crate::format::{SUPERBLOCK, at, change_superblocks, number, seal};
use crate::made::{Made, TensorOf, builder, bytes_of, gguf, quick_dir, read_all};
use crate::mutation::{committed, mutate, mutation};
use ringfield::sim::{parse_packed_index, parse_superblock};
use ringfield::{Error, Gguf, Pack, PackedField, TensorType};
use std::ops::Range;

const PAGE: u64 = 4096;

/// A model whose index has everything: experts in an order of their own, bytes that are no tensor's, several pages.
fn made() -> Made {
    let tensors: [TensorOf<'_>; 5] = [
        ("token_embd.weight", &[100, 20], TensorType::F32),
        ("blk.0.ffn_gate_exps.weight", &[32, 3, 5], TensorType::F32),
        ("blk.0.ffn_up_exps.weight", &[32, 3, 5], TensorType::F32),
        ("blk.1.ffn_gate_exps.weight", &[64, 40, 3], TensorType::Q4_0),
        ("long", &[2000, 2], TensorType::F32),
    ];
    let mut made = Made::new(&gguf(&tensors, 7, None), 1, PAGE);
    let order = |_, experts: u64| Some((0..experts as u32).rev().collect());
    let pack = Pack::new([&made.source]).page_size(PAGE).replace(true);
    pack.expert_order(order).run(&made.paths, |_| true).unwrap();
    let engine = builder(PAGE).build().unwrap();
    let field = engine.open_array(&made.paths).unwrap();
    made.members = vec![std::fs::read(&made.paths[0]).unwrap()];
    made.field = read_all(&field, |e| panic!("{e}"));
    made
}

/// Where the index lies in the field.
fn index_of(made: &Made) -> Range<usize> {
    let member = &made.members[0];
    let start = number(member, at::INDEX_AT) as usize;
    start..start + number(member, at::INDEX_BYTES) as usize
}

#[test]
fn no_mutation_of_a_tensor_index_panics_or_takes_more_than_it_is_worth() {
    let made = made();
    let index = made.field[index_of(&made)].to_vec();
    let room = made.field.len() as u64;
    let (files, entries) = parse_packed_index(&index, room, PAGE).unwrap();
    assert_eq!((files, entries >= 5), (1, true));
    let mut corpus = vec![index];
    corpus.extend(committed("packed_index"));
    mutate(&corpus, |bytes| {
        parse_packed_index(bytes, room, PAGE).is_ok()
    });
}

#[test]
fn no_mutation_of_a_superblock_panics_or_takes_more_than_it_is_worth() {
    let made = made();
    let whole = &made.members[0];
    // The first superblock, the last one, and nothing between: what else the file holds nobody looks at here.
    let mut corpus = vec![whole[..SUPERBLOCK].to_vec()];
    corpus.extend(committed("superblock"));
    mutate(&corpus, |bytes| {
        let mut member = whole.clone();
        let here = bytes.len().min(SUPERBLOCK);
        member[..here].copy_from_slice(&bytes[..here]);
        let last = member.len() - SUPERBLOCK;
        member.copy_within(..SUPERBLOCK, last);
        member[last + 156] = 1;
        change_superblocks(&mut member, |_| ());
        parse_superblock(&member).is_ok()
    });
}

#[test]
fn a_field_with_a_hostile_index_is_a_typed_error_or_a_field() {
    let made = made();
    let engine = builder(PAGE).build().unwrap();
    let place = index_of(&made);
    let corpus = [made.field[place.clone()].to_vec()];
    let data_at = number(&made.members[0], at::DATA_AT) as usize;
    let out = quick_dir();
    let (mut opened, mut unpacked) = (0, 0);
    for seed in 0..3000 {
        let mut index = mutation(&corpus, seed);
        index.resize(place.len(), 0);
        let mut member = made.members[0].clone();
        member[data_at + place.start..data_at + place.end].copy_from_slice(&index);
        seal(&mut member);
        std::fs::write(&made.paths[0], &member).unwrap();
        let field = engine.open_array(&made.paths).unwrap();
        let whole = |e: &Error| {
            assert!(
                matches!(
                    e,
                    Error::Malformed { .. }
                        | Error::InvalidOption { .. }
                        | Error::MetadataBudget { .. }
                        | Error::Create { .. }
                ),
                "seed {seed}: {e:?}"
            );
        };
        let read = Gguf::of(&field).and_then(|model| {
            for tensor in model.tensors() {
                bytes_of(&tensor?)?;
            }
            Ok(())
        });
        match read {
            Ok(()) => opened += 1,
            Err(e) => whole(&e),
        }
        let packed = match PackedField::of(field) {
            Ok(packed) => packed,
            Err(e) => {
                whole(&e);
                continue;
            }
        };
        let tensors: ringfield::Result<Vec<_>> = packed.tensors().collect();
        let _ = tensors.map_err(|e| whole(&e));
        let files = match packed.files() {
            Ok(files) => files,
            Err(e) => {
                whole(&e);
                continue;
            }
        };
        // As much as the file system has room for may be written.
        if files.iter().any(|file| file.bytes > 1 << 20) {
            continue;
        }
        match packed.unpack(out.path(), true, |_| true) {
            Ok(_) => unpacked += 1,
            Err(e) => whole(&e),
        }
    }
    println!("{opened} opened, {unpacked} unpacked");
    assert!(opened > 30 && opened < 2900 && unpacked > 30 && unpacked < 2900);
    assert_eq!(engine.stats().frames_pinned, 0);
}
