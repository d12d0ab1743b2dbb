//! Every attack on GGUF parsers that is on record, and every length that can lie.

use crate::writer::{ARRAY, BOOL, Dir, GgufFile, STRING, U32, array, engine, string, tensor};
use ringfield::{Error, Gguf, TensorType, Value};

/// Fails unless opening `file` is a typed error that names the file and says `wanted`.
#[track_caller]
fn refused(file: &GgufFile, wanted: &str) {
    refused_bytes(&file.bytes(), wanted);
}

#[track_caller]
fn refused_bytes(bytes: &[u8], wanted: &str) {
    let dir = Dir::new();
    let path = dir.write("hostile.gguf", bytes);
    match Gguf::open(&engine(), &path) {
        Err(e @ Error::Malformed { .. }) => {
            let text = e.to_string();
            assert!(
                text.contains(wanted) && text.contains("hostile.gguf"),
                "{text}"
            );
        }
        other => panic!("{wanted}: {other:?}"),
    }
}

#[track_caller]
fn with(change: impl FnOnce(&mut GgufFile)) -> GgufFile {
    let mut file = GgufFile::new();
    change(&mut file);
    file
}

#[test]
fn a_right_file_reads_as_it_was_written() {
    for version in [2, 3] {
        let file = with(|file| file.version = version);
        let dir = Dir::new();
        let path = dir.write("model.gguf", &file.bytes());
        let engine = engine();
        let model = Gguf::open(&engine, &path).unwrap();
        assert_eq!((model.version(), model.alignment()), (version, 64));
        assert_eq!((model.tensor_count(), model.key_count()), (3, 7));

        let tensors: Vec<_> = model.tensors().map(Result::unwrap).collect();
        let names: Vec<_> = tensors.iter().map(|tensor| tensor.name()).collect();
        assert_eq!(names, ["embed", "norm", "blk.0.weight"]);
        let last = model.tensor("blk.0.weight").unwrap().unwrap();
        assert_eq!(
            (last.shape(), last.rows(), last.elements()),
            (&[2, 3, 4][..], 12, 24)
        );
        assert_eq!((last.kind(), last.bytes()), (TensorType::F16, 48));
        let view = last.field().read(last.range()).unwrap();
        assert_eq!(view.to_vec(), &file.data[128..176]);
        assert!(model.tensor("blk.1.weight").unwrap().is_none());

        let value = |key: &str| model.get(key).unwrap().unwrap();
        assert_eq!(value("general.architecture").as_str(), Some("test"));
        assert_eq!(value("test.flag").as_bool(), Some(true));
        assert_eq!(value("test.small").as_f64(), Some(0.5));
        assert!(matches!(value("test.far"), Value::I64(-5)));
        assert!(value("test.far").as_u64().is_none());
        let (words, numbers) = (value("test.words"), value("test.numbers"));
        let words = words.as_array().unwrap().iter().map(Result::unwrap);
        let words: Vec<_> = words
            .map(|word| word.as_str().unwrap().to_owned())
            .collect();
        assert_eq!(words, ["one", "", "zw\u{f6}lf"]);
        let numbers = numbers.as_array().unwrap().iter().map(Result::unwrap);
        assert_eq!(
            numbers.map(|n| n.as_u64().unwrap()).collect::<Vec<_>>(),
            [1, 258]
        );
        assert!(model.get("test").unwrap().is_none());
        let keys: Vec<_> = model.metadata().map(|entry| entry.unwrap().0).collect();
        assert_eq!(keys.len(), 7);
        assert_eq!(keys[6], "test.far");
    }
}

#[test]
fn strings_that_are_not_utf8_are_bytes() {
    let file = with(|file| {
        file.keys
            .push((b"raw".to_vec(), STRING, string(&[0xff, 0x00])));
    });
    let dir = Dir::new();
    let path = dir.write("model.gguf", &file.bytes());
    let value = Gguf::open(&engine(), &path).unwrap().get("raw").unwrap();
    assert!(matches!(value, Some(Value::Bytes(bytes)) if bytes == [0xff, 0x00]));
}

#[test]
fn a_file_of_something_else_is_named() {
    refused_bytes(b"", "the magic needs 4 bytes");
    refused(&with(|file| file.magic = *b"GGML"), "not with \"GGUF\"");
    refused(&with(|file| file.version = 1), "version 1");
    refused(&with(|file| file.version = 4), "version 4, not 2 or 3");
    refused(&with(|file| file.version = 3u32.swap_bytes()), "big-endian");
}

#[test]
fn a_file_cut_at_any_byte_is_an_error() {
    let whole = GgufFile::new().bytes();
    let (dir, engine) = (Dir::new(), engine());
    for len in 0..whole.len() {
        let path = dir.write(&format!("{len}.gguf"), &whole[..len]);
        let opened = Gguf::open(&engine, &path);
        assert!(
            matches!(opened, Err(Error::Malformed { .. })),
            "{len} bytes: {opened:?}"
        );
    }
    let path = dir.write("whole.gguf", &whole);
    assert!(Gguf::open(&engine, path).is_ok());
}

#[test]
fn counts_that_lie_are_found_before_anything_is_taken_for_them() {
    for count in [8, 1000, u64::from(u32::MAX), u64::MAX / 2, u64::MAX] {
        refused(&with(|file| file.tensor_count = Some(count)), "");
        refused(&with(|file| file.key_count = Some(count)), "");
    }
    refused(
        &with(|file| file.tensor_count = Some(u64::MAX)),
        "tensors do not fit",
    );
    refused(
        &with(|file| file.key_count = Some(u64::MAX)),
        "keys do not fit",
    );
}

#[test]
fn lengths_of_strings_and_arrays_that_lie_are_errors() {
    for len in [u64::MAX, u64::MAX - 7, 1 << 62, 1 << 32, 4096] {
        let mut lying = len.to_le_bytes().to_vec();
        lying.extend_from_slice(b"text");
        refused(
            &with(|file| file.keys.push((b"k".to_vec(), STRING, lying.clone()))),
            "bytes",
        );
        for element in [0, 5, 7, 8, 10, 12] {
            refused(
                &with(|file| {
                    file.keys
                        .push((b"k".to_vec(), ARRAY, array(element, len, b"1234")))
                }),
                "does not fit",
            );
        }
    }
    // A key of 1 GiB (ggml #1516), as far as its length says.
    let mut bytes = GgufFile::new().header()[..24].to_vec();
    bytes.extend_from_slice(&(1u64 << 30).to_le_bytes());
    bytes.resize(4096, b'k');
    refused_bytes(&bytes, "a key needs 1073741824 bytes");
}

#[test]
fn names_are_one_to_65535_bytes_of_utf8_and_there_once() {
    refused(
        &with(|file| file.keys.push((vec![], BOOL, vec![1]))),
        "a key has 0 bytes",
    );
    refused(
        &with(|file| file.keys.push((vec![b'k'; 65_536], BOOL, vec![1]))),
        "a key has 65536 bytes",
    );
    refused(
        &with(|file| file.keys.push((vec![0xff], BOOL, vec![1]))),
        "not UTF-8",
    );
    refused(
        &with(|file| file.keys.push((b"test.flag".to_vec(), BOOL, vec![1]))),
        "key `test.flag` is there twice",
    );
    refused(
        &with(|file| file.tensors.push(tensor("norm", &[1], TensorType::I8, 192))),
        "tensor `norm` is there twice",
    );
    refused(
        &with(|file| file.tensors[0].name.clear()),
        "a tensor's name has 0 bytes",
    );
}

#[test]
fn values_of_unknown_types_wrong_bools_and_nested_arrays_are_errors() {
    refused(
        &with(|file| file.keys.push((b"k".to_vec(), 13, vec![0; 8]))),
        "unknown type 13",
    );
    refused(
        &with(|file| file.keys.push((b"k".to_vec(), BOOL, vec![2]))),
        "a bool is 2",
    );
    refused(
        &with(|file| {
            file.keys
                .push((b"k".to_vec(), ARRAY, array(BOOL, 2, &[1, 3])))
        }),
        "a bool is 3",
    );
    let inner = array(BOOL, 1, &[1]);
    refused(
        &with(|file| {
            file.keys
                .push((b"k".to_vec(), ARRAY, array(ARRAY, 1, &inner)))
        }),
        "an array of arrays",
    );
    // Nested a thousand times: no recursion is there to run out of stack.
    let deep = (0..1000).fold(vec![], |inner, _| array(ARRAY, 1, &inner));
    refused(
        &with(|file| file.keys.push((b"k".to_vec(), ARRAY, deep))),
        "an array of arrays",
    );
}

#[test]
fn alignments_are_powers_of_two_of_a_sane_size() {
    for alignment in [0u32, 3, 48, 1 << 30, u32::MAX] {
        refused(
            &with(|file| file.keys[1].2 = alignment.to_le_bytes().to_vec()),
            "general.alignment is",
        );
    }
    refused(
        &with(|file| {
            file.keys[1] = (b"general.alignment".to_vec(), STRING, string(b"32"));
        }),
        "general.alignment is not a u32",
    );
    refused(
        &with(|file| file.tensors[1].offset = 65),
        "not a multiple of the alignment 64",
    );
    let packed = with(|file| {
        file.keys[1].2 = 1u32.to_le_bytes().to_vec();
        file.alignment = 1;
    });
    let dir = Dir::new();
    let path = dir.write("packed.gguf", &packed.bytes());
    assert!(Gguf::open(&engine(), path).is_ok());
}

#[test]
fn dimensions_are_one_to_four_and_never_overflow() {
    refused(&with(|file| file.tensors[1].dims.clear()), "0 dimensions");
    refused(
        &with(|file| file.tensors[1].dims = vec![1; 5]),
        "5 dimensions",
    );
    refused(
        &with(|file| file.tensors[1].dim_count = Some(u32::MAX)),
        "4294967295 dimensions",
    );
    refused(
        &with(|file| file.tensors[1].dims = vec![0]),
        "a dimension of 0",
    );
    refused(
        &with(|file| file.tensors[2].dims = vec![2, 0, 4]),
        "a dimension of 0",
    );
    for dims in [
        vec![1u64 << 63],
        vec![u64::MAX],
        vec![1 << 32, 1 << 32],
        vec![1 << 16; 4],
        vec![(1 << 42) + 1, 1 << 22],
    ] {
        refused(
            &with(|file| file.tensors[1].dims = dims),
            "too many elements",
        );
    }
    // 2^42 + 1 elements (llama.cpp #18674) are no overflow, but not in the file.
    refused(
        &with(|file| file.tensors[1].dims = vec![(1 << 42) + 1]),
        "the file is cut short",
    );
    // As many bytes as elements overflow here.
    refused(
        &with(|file| file.tensors[1].dims = vec![1 << 62]),
        "more than 2^64 bytes",
    );
    refused(
        &with(|file| file.tensors[0].dims = vec![33, 3]),
        "not whole blocks of Q4_0",
    );
}

#[test]
fn tensors_lie_in_the_file_and_beside_each_other() {
    for kind in [4, 5, 31, 36, 42, u32::MAX] {
        refused(
            &with(|file| file.tensors[1].kind = kind),
            "the unknown type",
        );
    }
    for offset in [192, 1 << 40, u64::MAX - 63, (1 << 63) + 64] {
        refused(
            &with(|file| file.tensors[2].offset = offset),
            "the file is cut short",
        );
    }
    refused(&with(|file| file.tensors[1].offset = 0), "overlaps");
    refused(&with(|file| file.tensors[2].offset = 64), "");
    refused(&with(|file| file.tensors[0].dims = vec![32, 4]), "overlaps");
    refused(
        &with(|file| file.data.truncate(175)),
        "the file is cut short",
    );
}

#[test]
fn records_are_charged_to_the_metadata_budget_and_given_back() {
    let file = with(|file| {
        file.tensors = (0..2000)
            .map(|n| tensor(&format!("t{n}"), &[1], TensorType::I8, n * 64))
            .collect();
        file.data = vec![0; 2000 * 64];
    });
    let dir = Dir::new();
    let path = dir.write("model.gguf", &file.bytes());
    let engine = engine();
    // The device's loop and the open field are charged too: they are there before.
    let field = engine.open(&path).unwrap();
    let before = engine.stats().metadata_left_bytes;
    let model = Gguf::open(&engine, &path).unwrap();
    let taken = before - engine.stats().metadata_left_bytes;
    assert!((2000 * 12..2000 * 20).contains(&taken), "{taken}");
    drop(model);
    assert_eq!(engine.stats().metadata_left_bytes, before);
    drop(field);
    let left = engine.stats().metadata_left_bytes;
    for _ in 0..100 {
        Gguf::open(&engine, &path).unwrap();
    }
    assert_eq!(engine.stats().metadata_left_bytes, left);

    // One that does not fit is an error that names the file, and takes nothing.
    let mut fields = Vec::new();
    let mut opened = Ok(());
    for n in 0..10_000 {
        match Gguf::open(&engine, dir.write(&format!("{n}.gguf"), &file.bytes())) {
            Ok(model) => fields.push(model),
            Err(e) => {
                opened = Err(e);
                break;
            }
        }
    }
    assert!(
        matches!(opened, Err(Error::MetadataBudget { .. })),
        "{opened:?}"
    );
    drop(fields);
    assert_eq!(engine.stats().metadata_left_bytes, left);
    assert!(Gguf::open(&engine, &path).is_ok());
}

#[test]
fn values_longer_than_the_pool_are_read() {
    let long: Vec<u8> = (0..12u32 << 20).map(|n| b'a' + (n % 26) as u8).collect();
    let file = with(|file| {
        file.keys.push((b"long".to_vec(), STRING, string(&long)));
        file.keys
            .push((b"after".to_vec(), U32, 7u32.to_le_bytes().to_vec()));
    });
    let dir = Dir::new();
    let path = dir.write("model.gguf", &file.bytes());
    let model = Gguf::open(&engine(), &path).unwrap();
    let value = model.get("long").unwrap().unwrap();
    assert!(value.as_str().unwrap().as_bytes() == long);
    assert_eq!(model.get("after").unwrap().unwrap().as_u64(), Some(7));
}
