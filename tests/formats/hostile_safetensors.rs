//! safetensors files, right and wrong.

use crate::writer::{Dir, engine, safetensors};
use ringfield::{Dtype, Error, SafeTensors};

const RIGHT: &str = r#"{"__metadata__":{"format":"pt","a\u0041\ud83d\ude00":"\"\n"},
    "b":{"dtype":"F32","shape":[2,2],"data_offsets":[4,20]},
    "a \u00e9":{"shape":[4],"data_offsets":[0,4],"dtype":"U8"},
    "none":{"dtype":"BF16","shape":[0,7],"data_offsets":[4,4]},
    "one":{"dtype":"I64","shape":[],"data_offsets":[20,28]},
    "half":{"dtype":"F4","shape":[3,2],"data_offsets":[28,31]}}   "#;

fn data() -> Vec<u8> {
    (0..31).collect()
}

#[track_caller]
fn refused(header: &str, bytes: usize, wanted: &str) {
    refused_bytes(&safetensors(header, &vec![0; bytes]), wanted);
}

#[track_caller]
fn refused_bytes(bytes: &[u8], wanted: &str) {
    let dir = Dir::new();
    let path = dir.write("hostile.safetensors", bytes);
    match SafeTensors::open(&engine(), &path) {
        Err(e @ Error::Malformed { .. }) => {
            let text = e.to_string();
            assert!(
                text.contains(wanted) && text.contains("hostile.safetensors"),
                "{text}"
            );
        }
        other => panic!("{wanted}: {other:?}"),
    }
}

#[test]
fn a_right_file_reads_as_it_was_written() {
    let dir = Dir::new();
    let path = dir.write("model.safetensors", &safetensors(RIGHT, &data()));
    let engine = engine();
    let model = SafeTensors::open(&engine, &path).unwrap();
    let names: Vec<_> = model
        .tensors()
        .map(|tensor| tensor.unwrap().name().to_owned())
        .collect();
    assert_eq!(names, ["b", "a \u{e9}", "none", "one", "half"]);
    let tensor = model.tensor("b").unwrap().unwrap();
    assert_eq!(
        (tensor.dtype(), tensor.shape(), tensor.bytes()),
        (Dtype::F32, &[2, 2][..], 16)
    );
    assert_eq!(
        tensor.field().read(tensor.range()).unwrap().to_vec(),
        &data()[4..20]
    );
    assert_eq!(model.tensor("one").unwrap().unwrap().shape(), &[0u64; 0]);
    assert!(model.tensor("__metadata__").unwrap().is_none());
    assert_eq!(
        model.metadata().unwrap(),
        [
            ("format".to_owned(), "pt".to_owned()),
            ("aA\u{1f600}".to_owned(), "\"\n".to_owned())
        ]
    );
}

#[test]
fn a_file_of_no_tensors_is_right() {
    let dir = Dir::new();
    let path = dir.write("empty.safetensors", &safetensors("{}", &[]));
    let model = SafeTensors::open(&engine(), path).unwrap();
    assert_eq!(model.tensor_count(), 0);
    assert!(model.metadata().unwrap().is_empty());
}

#[test]
fn a_file_cut_at_any_byte_is_an_error() {
    let whole = safetensors(RIGHT, &data());
    let (dir, engine) = (Dir::new(), engine());
    for len in 0..whole.len() {
        let path = dir.write(&format!("{len}"), &whole[..len]);
        let opened = SafeTensors::open(&engine, &path);
        assert!(
            matches!(opened, Err(Error::Malformed { .. })),
            "{len} bytes: {opened:?}"
        );
    }
}

#[test]
fn headers_that_lie_about_their_length_are_errors() {
    for len in [u64::MAX, 1 << 40, 100_000_001, 3] {
        let bytes = [&len.to_le_bytes()[..], b"{}"].concat();
        refused_bytes(&bytes, "a header of");
    }
    refused("", 0, "does not begin with '{'");
    refused(" {}", 0, "does not begin with '{'");
    refused("{} x", 0, "more than white space");
}

#[test]
fn json_that_is_none_is_an_error() {
    for (header, wanted) in [
        (r#"{"a"}"#, "':' is expected"),
        (r#"{"a":1}"#, "'{' is expected"),
        (r#"{,}"#, "'\"' is expected"),
        (
            r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},}"#,
            "'\"' is expected",
        ),
        (
            r#"{"a":{"dtype":"U8","shape":[01],"data_offsets":[0,1]}}"#,
            "a whole number",
        ),
        (
            r#"{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}"#,
            "a whole number",
        ),
        (
            r#"{"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}"#,
            "']' is expected",
        ),
        (
            r#"{"a":{"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,1]}}"#,
            "64 bits",
        ),
        ("{\"a\n\":{}}", "a control character"),
        (r#"{"\x":{}}"#, "an escape that JSON does not have"),
        (r#"{"\u12g4":{}}"#, "four hexadecimal digits"),
        (r#"{"\ud800":{}}"#, "half a surrogate pair"),
        (r#"{"\udc00":{}}"#, "half a surrogate pair"),
        (r#"{"\ud800\u0041":{}}"#, "half a surrogate pair"),
        (r#"{"__metadata__":{"a":1}}"#, "'\"' is expected"),
        (
            r#"{"__metadata__":{},"__metadata__":{}}"#,
            "__metadata__ is there twice",
        ),
    ] {
        refused(header, 1, wanted);
    }
    refused_bytes(
        &[&8u64.to_le_bytes()[..], b"{\"\xff\":{}}"].concat(),
        "not UTF-8",
    );
    refused(
        &format!("{{{}", "\"a\":{".repeat(10_000)),
        0,
        "unknown field",
    );
    refused(
        &format!("{{\"{}\":{{}}}}", "n".repeat(65_536)),
        0,
        "more than 65535 bytes",
    );
}

#[test]
fn tensors_fill_the_data_and_fit_their_shapes() {
    let one = |fields: &str| format!("{{\"a\":{{{fields}}}}}");
    for (fields, wanted) in [
        (
            r#""dtype":"Q4","shape":[1],"data_offsets":[0,1]"#,
            "the unknown type Q4",
        ),
        (
            r#""dtype":"U8","shape":[1]"#,
            "lacks its dtype, shape or data_offsets",
        ),
        (
            r#""dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1"#,
            "the unknown field x",
        ),
        (
            r#""dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]"#,
            "a field twice",
        ),
        (
            r#""dtype":"U8","shape":[1],"data_offsets":[0]"#,
            "1 offsets, not 2",
        ),
        (
            r#""dtype":"U8","shape":[1],"data_offsets":[0,1,2]"#,
            "more than 2 numbers",
        ),
        (
            r#""dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]"#,
            "more than 8 numbers",
        ),
        (
            r#""dtype":"U8","shape":[2],"data_offsets":[0,1]"#,
            "not what its shape",
        ),
        (
            r#""dtype":"F4","shape":[1],"data_offsets":[0,1]"#,
            "not what its shape",
        ),
        (
            r#""dtype":"U8","shape":[1],"data_offsets":[1,0]"#,
            "not what its shape",
        ),
        (
            r#""dtype":"F64","shape":[4294967296,4294967296],"data_offsets":[0,1]"#,
            "not what its shape",
        ),
        (
            r#""dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]"#,
            "not what its shape",
        ),
        (
            r#""dtype":"U8","shape":[1],"data_offsets":[1,2]"#,
            "begins at 1",
        ),
        (
            r#""dtype":"U8","shape":[2],"data_offsets":[0,2]"#,
            "2 bytes and the file holds 1",
        ),
    ] {
        refused(&one(fields), 1, wanted);
    }
    let two = |first: &str, second: &str| {
        format!(
            r#"{{"a":{{"dtype":"U8","shape":[2],"data_offsets":{first}}},"{second}":{{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}}}"#
        )
    };
    refused(
        &two("[0,2]", "b"),
        3,
        "begins at 1 and the one before ends at 2",
    );
    refused(
        &two("[3,5]", "b"),
        5,
        "begins at 1 and the one before ends at 0",
    );
    refused(&two("[3,5]", "a"), 5, "tensor `a` is there twice");
    refused("{}", 1, "0 bytes and the file holds 1");
}
