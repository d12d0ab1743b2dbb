//! Models split over several files.

use crate::writer::{Dir, GgufFile, U16, engine, tensor};
use ringfield::{Error, Gguf, TensorType};
use std::path::PathBuf;

/// Member `number` (from 0) of `count`, with one tensor.
fn member(number: u16, count: u16) -> GgufFile {
    let mut file = GgufFile::new();
    file.keys
        .push((b"split.no".to_vec(), U16, number.to_le_bytes().to_vec()));
    file.keys
        .push((b"split.count".to_vec(), U16, count.to_le_bytes().to_vec()));
    file.tensors = vec![tensor(&format!("t{number}"), &[16], TensorType::I8, 0)];
    file.data = vec![number as u8; 16];
    file
}

fn name(number: u16, count: u16) -> String {
    format!("model-{:05}-of-{count:05}.gguf", number + 1)
}

fn write(dir: &Dir, members: &[GgufFile]) -> Vec<PathBuf> {
    let count = members.len() as u16;
    let numbered = (0..count).zip(members);
    numbered
        .map(|(number, file)| dir.write(&name(number, count), &file.bytes()))
        .collect()
}

#[test]
fn a_set_opens_by_any_of_its_files() {
    let dir = Dir::new();
    let members: Vec<_> = (0..3).map(|number| member(number, 3)).collect();
    let engine = engine();
    for path in write(&dir, &members) {
        let model = Gguf::open(&engine, &path).unwrap();
        assert_eq!((model.tensor_count(), model.fields().count()), (3, 3));
        for number in 0..3u8 {
            let tensor = model.tensor(&format!("t{number}")).unwrap().unwrap();
            let bytes = tensor.field().read(tensor.range()).unwrap().to_vec();
            assert_eq!(bytes, [number; 16]);
        }
        let order: Vec<_> = model
            .tensors()
            .map(|tensor| tensor.unwrap().name().to_owned())
            .collect();
        assert_eq!(order, ["t0", "t1", "t2"]);
    }
}

#[test]
fn a_set_with_a_file_missing_names_it() {
    let dir = Dir::new();
    let paths = write(&dir, &[member(0, 2), member(1, 2)]);
    std::fs::remove_file(&paths[1]).unwrap();
    let opened = Gguf::open(&engine(), &paths[0]);
    assert!(
        matches!(&opened, Err(Error::Open { path, errno: libc::ENOENT }) if *path == paths[1]),
        "{opened:?}"
    );
}

#[test]
fn files_that_belong_elsewhere_are_refused() {
    for (members, wanted) in [
        ([member(0, 2), member(0, 2)], "split.no"),
        ([member(0, 2), member(1, 3)], "split.count"),
        ([member(0, 2), GgufFile::new()], "split.no is None"),
    ] {
        let dir = Dir::new();
        let paths = write(&dir, &members);
        let text = Gguf::open(&engine(), &paths[0]).unwrap_err().to_string();
        assert!(
            text.contains(wanted) && text.contains("00002-of-00002"),
            "{text}"
        );
    }
    // One file of a set under a name of its own is not the model.
    let dir = Dir::new();
    let path = dir.write("alone.gguf", &member(0, 2).bytes());
    let text = Gguf::open(&engine(), path).unwrap_err().to_string();
    assert!(text.contains("split.count"), "{text}");
}

#[test]
fn a_tensor_in_two_files_is_an_error() {
    let dir = Dir::new();
    let mut second = member(1, 2);
    second.tensors[0].name = b"t0".to_vec();
    let paths = write(&dir, &[member(0, 2), second]);
    let text = Gguf::open(&engine(), &paths[0]).unwrap_err().to_string();
    assert!(
        text.contains("tensor `t0` is in") && text.contains("too"),
        "{text}"
    );
    assert!(dir.path().exists());
}
