//! Damaged files: right bytes or a typed error that says where, never wrong bytes.

use crate::format::{
    DIRECTORY, Parts, SUPERBLOCK, at, change_superblock, change_superblocks, entry, number,
    page_checksum, stored,
};
use crate::made::{Made, TensorOf, engine, gguf};
use ringfield::{Engine, Error, Fault, TensorType, Verify};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

const PAGE: u64 = 4096;

const SMALL: [TensorOf<'static>; 4] = [
    ("token_embd.weight", &[64, 9], TensorType::F32),
    ("blk.0.attn_q.weight", &[300, 3], TensorType::F32),
    ("blk.0.ffn_up.weight", &[64, 20], TensorType::Q4_0),
    ("rope_freqs.weight", &[5], TensorType::F32),
];

/// A field of a few pages.
fn small(members: usize, page: u64) -> Made {
    Made::new(&gguf(&SMALL, 3, None), members, page)
}

/// One with two levels of directory on each member.
fn two_levels(members: usize) -> Made {
    let rows = 300 * members as u64;
    let tensors = [("token_embd.weight", &[1024, rows][..], TensorType::F32)];
    Made::new(&gguf(&tensors, 5, Some(0)), members, PAGE)
}

/// What a byte of a member belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Superblock,
    /// Number of the directory page.
    Directory(usize),
    /// Number of the page in the field.
    Page(u64),
    /// Zeros between the superblock and the directory.
    Gap,
    /// Behind what is stored of a page: whatever lies there.
    Unstored,
}

fn place_of(made: &Made, member: usize, offset: usize) -> Place {
    let bytes = &made.members[member];
    let parts = Parts::of(bytes);
    let data_end = parts.data_at + parts.slots * parts.page;
    match offset {
        _ if offset < SUPERBLOCK || offset >= bytes.len() - SUPERBLOCK => Place::Superblock,
        _ if offset < parts.directory_at => Place::Gap,
        _ if offset < parts.data_at => {
            let within = offset - parts.directory_at;
            let (number, within) = (within / parts.page, within % parts.page);
            // One level: its entry is in the superblock.
            let behind = parts.nodes == 1 && within >= stored(&bytes[at::ROOT..]);
            if behind {
                Place::Unstored
            } else {
                Place::Directory(number)
            }
        }
        _ if offset < data_end => {
            let within = offset - parts.data_at;
            let (slot, within) = (within / parts.page, within % parts.page);
            let behind =
                parts.nodes == 1 && within >= stored(&bytes[parts.directory_at + slot * 16..]);
            let page = (slot * made.members.len() + member) as u64;
            if behind {
                Place::Unstored
            } else {
                Place::Page(page)
            }
        }
        _ => Place::Gap,
    }
}

/// True where the error names the file, the member, the page and where that begins.
fn names(e: &Error, made: &Made, member: usize, place: Place) -> bool {
    let parts = Parts::of(&made.members[member]);
    let (wanted, begins) = match place {
        Place::Directory(number) => (
            DIRECTORY | (member as u64) << 48 | number as u64,
            parts.node(number).start,
        ),
        Place::Page(page) => (page, parts.slot(page as usize / made.members.len()).start),
        _ => return false,
    };
    let Error::Read {
        path,
        member: of,
        page,
        offset,
        fault: Fault::Checksum,
    } = e
    else {
        return false;
    };
    let named = format!("member {member} of the array");
    (path, *of, *page, *offset)
        == (
            &made.paths[member],
            Some(member as u32),
            wanted,
            begins as u64,
        )
        && e.to_string().contains(&named)
        && e.to_string().contains("not what its checksum says")
}

/// Reads a field one byte of which was changed; whether anybody noticed. Fails on wrong bytes, and where what is said is
/// not where the damage is.
fn damage_is_found(made: &Made, engine: &Engine, member: usize, offset: usize) -> bool {
    let place = place_of(made, member, offset);
    let field = match engine.open_array(&made.paths) {
        Ok(field) => field,
        Err(e) => panic!("one flipped bit, and the other superblock serves: {e}"),
    };
    let unpack = place == Place::Superblock || offset.is_multiple_of(64);
    let errors = made.errors_of(&field, unpack);
    for e in &errors {
        assert!(names(e, made, member, place), "byte {offset}: {e:?}");
    }
    let report = engine.report();
    let mut said = report
        .degraded()
        .filter(|row| row.item.ends_with(": superblocks"));
    let found = match said.next() {
        Some(row) => {
            let copy = if offset < SUPERBLOCK { "first" } else { "last" };
            assert_eq!(place, Place::Superblock);
            assert!(row.item.contains(&*made.paths[member].to_string_lossy()));
            assert!(
                row.why.contains(&format!("the {copy} superblock")),
                "{row:?}"
            );
            true
        }
        None => !errors.is_empty(),
    };
    drop((said, field));
    // Who looks for damage finds it, wherever it is. It takes an engine of its own: now and then, and always where nobody
    // else reads.
    if !found || offset.is_multiple_of(509) {
        let verified = Verify::new(&made.paths).run(|_| true).unwrap();
        assert_eq!(
            verified.is_whole(),
            place == Place::Unstored,
            "byte {offset}"
        );
        let parts = Parts::of(&made.members[member]);
        for damage in &verified.damages {
            assert_eq!(
                (&damage.path, damage.member),
                (&made.paths[member], member as u32)
            );
            match place {
                Place::Page(page) => {
                    let begins = parts.slot(page as usize / made.members.len()).start;
                    assert_eq!((damage.page, damage.offset), (Some(page), begins as u64));
                }
                Place::Gap => assert_eq!((damage.page, damage.offset), (None, offset as u64)),
                Place::Unstored => panic!("{damage}"),
                Place::Superblock => {
                    let last = made.members[member].len() - SUPERBLOCK;
                    let begins = if offset < SUPERBLOCK { 0 } else { last };
                    assert_eq!((damage.page, damage.offset), (None, begins as u64));
                }
                Place::Directory(_) => assert!(damage.page.is_some()),
            }
        }
    }
    found
}

/// Flips a bit of every byte, each alone. Returns how many lay in a gap, and how many behind what is stored of a page.
fn flip_every_byte(members: usize, page: u64) -> (usize, usize) {
    let made = small(members, page);
    let engine = engine(page);
    assert!(made.errors(&engine, true).is_empty());
    let (mut gaps, mut unstored) = (0, 0);
    for (member, bytes) in made.members.iter().enumerate() {
        let file = OpenOptions::new().write(true).open(&made.paths[member]);
        let file = file.unwrap();
        for (offset, &byte) in bytes.iter().enumerate() {
            // Of what nobody reads a few bytes are enough.
            let place = place_of(&made, member, offset);
            let unread = matches!(place, Place::Gap | Place::Unstored);
            if unread && !offset.is_multiple_of(251) {
                continue;
            }
            let bit = (offset as u32).wrapping_mul(0x9e37_79b9) >> 29;
            file.write_all_at(&[byte ^ 1 << bit], offset as u64)
                .unwrap();
            let found = damage_is_found(&made, &engine, member, offset);
            assert_eq!(found, !unread, "byte {offset} of member {member}");
            gaps += usize::from(place == Place::Gap);
            unstored += usize::from(place == Place::Unstored);
            file.write_all_at(&[byte], offset as u64).unwrap();
        }
    }
    assert!(made.errors(&engine, true).is_empty());
    let stats = engine.stats();
    assert_eq!((stats.frames_pinned, stats.frames_lost), (0, 0));
    (gaps, unstored)
}

#[test]
fn every_flipped_byte_of_one_member_is_found() {
    assert_eq!(flip_every_byte(1, PAGE), (0, 0));
}

#[test]
fn every_flipped_byte_of_two_members_is_found() {
    assert_eq!(flip_every_byte(2, PAGE), (0, 0));
}

#[test]
fn what_nobody_reads_lies_behind_the_first_superblock() {
    let (gaps, unstored) = flip_every_byte(1, 16 << 10);
    assert!(gaps > 0 && unstored == 0);
}

#[test]
fn what_lies_behind_the_stored_part_of_a_page_is_neither_an_error_nor_seen() {
    let (gaps, unstored) = flip_every_byte(2, 64 << 10);
    assert!(gaps > 0 && unstored > 0);
}

/// Writes the members with a change, and reads everything.
#[track_caller]
fn changed(made: &Made, engine: &Engine, change: impl FnOnce(&mut [Vec<u8>])) -> Vec<Error> {
    let mut members = made.members.clone();
    change(&mut members);
    for (path, bytes) in made.paths.iter().zip(&members) {
        std::fs::write(path, bytes).unwrap();
    }
    let errors = made.errors(engine, true);
    made.restore();
    errors
}

/// The pages of the field that the errors name, each once.
fn pages_of(errors: &[Error]) -> Vec<u64> {
    let mut pages: Vec<u64> = errors
        .iter()
        .map(|e| match e {
            Error::Read {
                page,
                fault: Fault::Checksum,
                ..
            } => *page,
            other => panic!("{other:?}"),
        })
        .collect();
    pages.sort_unstable();
    pages.dedup();
    pages
}

#[test]
fn pages_that_lie_at_anothers_place_are_found_and_no_others_are_lost() {
    for members in [1, 3] {
        let (made, other) = (two_levels(members), two_levels(members));
        let engine = engine(PAGE);
        let parts: Vec<Parts> = made.members.iter().map(|m| Parts::of(m)).collect();
        assert!(parts.iter().all(|parts| parts.nodes >= 3));
        let page = |member: usize, slot: usize| (slot * members + member) as u64;
        let last = members - 1;
        // Two of one member.
        let errors = changed(&made, &engine, |files| {
            let (one, two) = (parts[0].slot(3), parts[0].slot(7));
            let kept = files[0][one.clone()].to_vec();
            files[0].copy_within(two.clone(), one.start);
            files[0][two].copy_from_slice(&kept);
        });
        assert_eq!(pages_of(&errors), [page(0, 3), page(0, 7)]);
        // The same slot of two members; of a single one, another slot's.
        let errors = changed(&made, &engine, |files| {
            let from = files[last][parts[last].slot(9)].to_vec();
            files[0][parts[0].slot(10)].copy_from_slice(&from);
        });
        assert_eq!(pages_of(&errors), [page(0, 10)]);
        // The same page of the same model in another array: the same bytes but for the array's number in their checksum.
        assert_eq!(
            made.members[last][parts[last].slot(4)],
            other.members[last][parts[last].slot(4)]
        );
        let errors = changed(&made, &engine, |files| {
            let node = parts[last].node(1);
            files[last][node.clone()].copy_from_slice(&other.members[last][node]);
        });
        let lost = pages_of(&errors);
        assert_eq!(lost, [DIRECTORY | (last as u64) << 48 | 1]);
        // Zeros.
        let errors = changed(&made, &engine, |files| {
            files[last][parts[last].slot(5)].fill(0);
        });
        assert_eq!(pages_of(&errors), [page(last, 5)]);
    }
}

#[test]
fn a_damaged_directory_page_costs_the_pages_below_it_and_no_others() {
    let made = two_levels(2);
    let engine = engine(PAGE);
    let parts = Parts::of(&made.members[1]);
    let unit = |number: u64| DIRECTORY | 1 << 48 | number;
    // Page 0 is the topmost, 1 and 2 are leaves: 256 slots, and the others.
    let below = [parts.slots, 256, parts.slots - 256];
    for (number, below) in below.into_iter().enumerate() {
        let errors = changed(&made, &engine, |files| {
            files[1][parts.node(number)].fill(0);
        });
        assert_eq!(pages_of(&errors), [unit(number as u64)]);
        // One for each page, and those of the tensor and of the unpacked file.
        assert!(
            (below..=below + 2).contains(&errors.len()),
            "{}",
            errors.len()
        );
        for e in &errors {
            assert!(e.to_string().contains(&format!("directory page {number}")));
        }
    }
    let errors = changed(&made, &engine, |files| {
        let (one, two) = (parts.node(1), parts.node(2));
        let kept = files[1][one.clone()].to_vec();
        files[1].copy_within(two.clone(), one.start);
        files[1][two].copy_from_slice(&kept);
    });
    assert_eq!(pages_of(&errors), [unit(1), unit(2)]);
    // Those of two members.
    let errors = changed(&made, &engine, |files| {
        let [one, two] = [0, 1].map(|k: usize| files[k][parts.node(2)].to_vec());
        files[0][parts.node(2)].copy_from_slice(&two);
        files[1][parts.node(2)].copy_from_slice(&one);
    });
    assert_eq!(pages_of(&errors), [DIRECTORY | 2, unit(2)]);
}

/// Changes the only directory page of a member, so that all checksums above it fit.
fn change_directory(member: &mut [u8], number_of: u64, change: impl FnOnce(&mut [u8])) {
    let parts = Parts::of(member);
    assert_eq!(parts.nodes, 1);
    change(&mut member[parts.node(0)]);
    let array = member[at::ARRAY..at::ARRAY + 16].to_vec();
    let unit = DIRECTORY | number_of << 48;
    let root = page_checksum(&member[parts.node(0)], &array, unit, 1);
    change_superblocks(member, |copy| {
        copy[at::ROOT..at::ROOT + 16].copy_from_slice(&entry(root, 1, parts.page));
    });
}

#[test]
fn a_page_of_another_time_is_found() {
    let made = small(2, PAGE);
    let engine = engine(PAGE);
    let parts = Parts::of(&made.members[1]);
    let array = made.members[1][at::ARRAY..at::ARRAY + 16].to_vec();
    let page = parts.slot(0);
    let there = made.members[1][page.clone()].to_vec();
    // What the test writes is right: the same entry, the same bytes.
    let errors = changed(&made, &engine, |files| {
        let checksum = page_checksum(&there, &array, 1, 1);
        change_directory(&mut files[1], 1, |directory| {
            directory[..16].copy_from_slice(&entry(checksum, 1, parts.page));
        });
    });
    assert_eq!(errors, []);
    // A later version is right too, if its checksum is of that version,
    let errors = changed(&made, &engine, |files| {
        let checksum = page_checksum(&there, &array, 1, 7);
        change_directory(&mut files[1], 1, |directory| {
            directory[..16].copy_from_slice(&entry(checksum, 7, parts.page));
        });
    });
    assert_eq!(errors, []);
    // and is not what version 1 had, the same bytes or not.
    for (checksum, version) in [
        (page_checksum(&there, &array, 1, 1), 7),
        (page_checksum(&there, &array, 0, 7), 7),
        (page_checksum(&vec![9; PAGE as usize], &array, 1, 7), 7),
    ] {
        let errors = changed(&made, &engine, |files| {
            change_directory(&mut files[1], 1, |directory| {
                directory[..16].copy_from_slice(&entry(checksum, version, parts.page));
            });
        });
        assert_eq!(pages_of(&errors), [1]);
    }
    // An entry that is neither present nor absent, and one that is absent where the page is not zeros.
    // Nor one of which nothing is stored, or more than a page.
    let word = |version: u64, blocks: u64, state: u64| version << 24 | blocks << 8 | state;
    for word in [word(1, 1, 2), 0, word(1, 0, 1), word(1, 2, 1)] {
        let errors = changed(&made, &engine, |files| {
            change_directory(&mut files[1], 1, |directory| {
                directory[8..16].copy_from_slice(&word.to_le_bytes());
            });
        });
        assert_eq!(pages_of(&errors), [1]);
    }
}

#[test]
fn files_of_another_length_are_refused_and_say_so() {
    let made = small(2, PAGE);
    let engine = engine(PAGE);
    let len = made.members[1].len();
    let cuts = (0..len).step_by(509).chain([1, len - 1, 4095, 4096, 4097]);
    let longer = [len + 1, len + 511, len + 4095, len + 4096, len + 65_536];
    for wanted in cuts.chain(longer) {
        let errors = changed(&made, &engine, |files| files[1].resize(wanted, 0));
        let [Error::Malformed { path, what, .. }] = &errors[..] else {
            panic!("{wanted} of {len}: {errors:?}");
        };
        assert_eq!(*path, made.paths[1]);
        let said = match wanted {
            0..4096 => format!("{wanted} bytes"),
            _ if wanted < len => "cut short".into(),
            _ => "too long".into(),
        };
        assert!(what.contains(&said), "{wanted} of {len}: {what}");
    }
    // Where the length is all that is left of the first superblock's word.
    let errors = changed(&made, &engine, |files| {
        files[1][0] ^= 1;
        files[1].extend([0; 4096]);
    });
    assert!(
        matches!(&errors[..], [Error::Malformed { .. }]),
        "{errors:?}"
    );
}

#[test]
fn two_superblocks_that_differ_are_told_apart() {
    let made = small(1, PAGE);
    let engine = engine(PAGE);
    let last = made.members[0].len() - SUPERBLOCK;
    let generation = |copy: &mut [u8], to: u64| {
        copy[at::GENERATION..at::GENERATION + 8].copy_from_slice(&to.to_le_bytes());
    };
    // The newer one counts, whichever that is.
    for (start, older) in [(0, "last"), (last, "first")] {
        let mut members = made.members.clone();
        let copy = &mut members[0][start..start + SUPERBLOCK];
        change_superblock(copy, |copy| generation(copy, 2));
        std::fs::write(&made.paths[0], &members[0]).unwrap();
        let field = engine.open_array(&made.paths).unwrap();
        assert_eq!(made.errors_of(&field, true), []);
        let report = engine.report().to_string();
        assert!(report.contains(&format!("the {older} superblock is of generation 1")));
    }
    // Two of one generation must say the same.
    let errors = changed(&made, &engine, |files| {
        change_superblock(&mut files[0][..SUPERBLOCK], |copy| copy[at::ROOT] ^= 1);
    });
    assert!(matches!(&errors[..], [Error::Malformed { what, .. }] if what.contains("differ")));
    // Both damaged.
    let errors = changed(&made, &engine, |files| {
        files[0][100] ^= 1;
        files[0][last + 100] ^= 1;
    });
    assert!(matches!(&errors[..], [Error::Malformed { what, .. }] if what.contains("checksum")));
    // Both say what cannot be, or what is not known.
    for (at, field, said) in [
        (at::VERSION, 1u32.to_le_bytes().to_vec(), "version 1"),
        (at::VERSION, 3u32.to_le_bytes().to_vec(), "version 3"),
        (at::FEATURES, 2u64.to_le_bytes().to_vec(), "feature 1"),
        (at::MEMBER, 1u32.to_le_bytes().to_vec(), "member 1 of 1"),
        (at::LEN, (1u64 << 40).to_le_bytes().to_vec(), "parts lie at"),
        (at::DATA_AT, 4096u64.to_le_bytes().to_vec(), "parts lie at"),
    ] {
        let errors = changed(&made, &engine, |files| {
            change_superblocks(&mut files[0], |copy| {
                copy[at..at + field.len()].copy_from_slice(&field);
            });
        });
        let [Error::Malformed { what, path, .. }] = &errors[..] else {
            panic!("{errors:?}");
        };
        assert!(what.contains(said) && *path == made.paths[0], "{what}");
    }
    assert_eq!(number(&made.members[0], at::GENERATION), 1);
}
