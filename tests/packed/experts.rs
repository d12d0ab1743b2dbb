//! Models of experts: the parts of each lie side by side, in the order that was asked for, and rows lie in pages.

use crate::made::{Made, TensorOf, bytes_of, engine, gguf, listed, quick_dir, random_bytes};
use crate::writer::{GgufFile, STRING, U16, U32, safetensors, string};
use ringfield::{
    Engine, Error, Gguf, Pack, PackedField, SafeTensors, Tensor, TensorRole, TensorType,
};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

const EXPERTS: u64 = 6;

/// A layer's experts in three tensors: `[width, inner, experts]` twice, and back.
fn experts<'n>(
    names: &'n [String],
    dims: &'n [[u64; 3]; 2],
    kind: TensorType,
) -> Vec<TensorOf<'n>> {
    let mut tensors: Vec<TensorOf<'n>> = Vec::new();
    for names in names.chunks(4) {
        tensors.push((&names[0], &dims[0][..1], TensorType::F32));
        tensors.push((&names[1], &dims[1], kind));
        tensors.push((&names[2], &dims[0], kind));
        tensors.push((&names[3], &dims[0], kind));
    }
    tensors
}

/// Names of `layers` layers, in an order that is not the one in which they are used.
fn names(layers: u32) -> Vec<String> {
    let of_layer = |layer: u32| {
        ["attn_norm", "ffn_down_exps", "ffn_up_exps", "ffn_gate_exps"]
            .map(|name| format!("blk.{layer}.{name}.weight"))
    };
    (0..layers).rev().flat_map(of_layer).collect()
}

/// Where expert `expert` of a layer lies: its three parts.
fn parts(model: &Gguf, layer: u32, expert: u64) -> [Range<u64>; 3] {
    ["gate", "up", "down"].map(|part| {
        let name = format!("blk.{layer}.ffn_{part}_exps.weight");
        let tensor = model.tensor(&name).unwrap().unwrap();
        let rows = tensor.shape()[1];
        tensor.rows_at(expert * rows..(expert + 1) * rows)
    })
}

/// No row of at most a page lies in two, and a longer one begins on a page.
fn check_rows(tensor: &Tensor, page: u64) {
    let row = tensor.row_bytes();
    for k in 0..tensor.rows() {
        let at = tensor.rows_at(k..k + 1);
        assert_eq!(at.end - at.start, row);
        match row <= page {
            true => assert_eq!(
                at.start / page,
                (at.end - 1) / page,
                "{} {k}",
                tensor.name()
            ),
            false => assert_eq!(at.start % page, 0),
        }
    }
    // The runs are all of the rows, in their order.
    let mut row_at = 0;
    for run in tensor.runs() {
        assert_eq!(run.start, tensor.rows_at(row_at..row_at + 1).start);
        assert_eq!((run.end - run.start) % row, 0);
        row_at += (run.end - run.start) / row;
    }
    assert_eq!(row_at, tensor.rows());
}

#[test]
fn the_parts_of_an_expert_lie_side_by_side() {
    // Bytes of an expert: several pages, about one, a share of one, rows longer than a page.
    for (width, inner, kind) in [
        (1000, 5, TensorType::F32),
        (64, 16, TensorType::F16),
        (32, 3, TensorType::Q4_0),
        (32, 7, TensorType::F32),
        (1500, 2, TensorType::F32),
    ] {
        let names = names(2);
        let dims = [
            [width, inner, EXPERTS],
            [inner.next_multiple_of(32), width, EXPERTS],
        ];
        let file = gguf(&experts(&names, &dims, kind), width, None);
        for members in [1, 3] {
            let page = 4096;
            let made = Made::new(&file, members, page);
            let engine = engine(page);
            assert_eq!(made.errors(&engine, true), []);
            let field = engine.open_array(&made.paths).unwrap();
            let model = Gguf::of(&field).unwrap();
            for tensor in model.tensors() {
                check_rows(&tensor.unwrap(), page);
            }
            for layer in 0..2 {
                let mut ranges: Vec<Range<u64>> = Vec::new();
                for expert in 0..EXPERTS {
                    let parts = parts(&model, layer, expert);
                    let start = parts.iter().map(|part| part.start).min().unwrap();
                    let end = parts.iter().map(|part| part.end).max().unwrap();
                    // One behind the other, nothing of others between them, and no more pages than they need.
                    assert!(parts[0].end <= parts[1].start && parts[1].end <= parts[2].start);
                    let pages = (end - 1) / page - start / page + 1;
                    let bytes: u64 = dims
                        .iter()
                        .zip([2, 1])
                        .map(|(d, n)| {
                            let rows = match n {
                                2 => inner,
                                _ => width,
                            };
                            n * rows
                                * match kind {
                                    TensorType::F32 => d[0] * 4,
                                    TensorType::F16 => d[0] * 2,
                                    _ => d[0] / 32 * 18,
                                }
                        })
                        .sum();
                    if bytes <= page / 2 {
                        assert_eq!(pages, 1, "a small one lies in one page");
                    } else {
                        assert_eq!(start % page, 0, "a large one begins on a page");
                        // Rows that do not fit the end of a page begin the next one.
                        assert!(pages <= 2 * bytes.div_ceil(page) + 3, "{pages} for {bytes}");
                    }
                    ranges.push(start..end);
                }
                for pair in ranges.windows(2) {
                    assert!(pair[0].end <= pair[1].start, "experts lie in their order");
                }
            }
        }
    }
}

#[test]
fn the_end_of_an_experts_last_page_is_a_hole_that_nobody_reads() {
    let page = 64 << 10;
    let (names, dims) = (names(1), [[128, 100, EXPERTS], [128, 128, EXPERTS]]);
    let file = gguf(&experts(&names, &dims, TensorType::F32), 9, None);
    for members in [1, 2] {
        let made = Made::new(&file, members, page);
        let engine = engine(page);
        let field = engine.open_array(&made.paths).unwrap();
        let model = Gguf::of(&field).unwrap();
        let whole = |expert| {
            let parts = parts(&model, 0, expert);
            parts[0].start..parts[2].end
        };
        // With the first one the directories come, whose leaves say what is stored.
        for expert in 0..2 {
            field.read(whole(expert)).unwrap();
        }
        for expert in 2..EXPERTS {
            let before = engine.stats();
            let range = whole(expert);
            let read = field.read(range.clone()).unwrap().to_vec();
            assert!(read == made.field[range.start as usize..range.end as usize]);
            let after = engine.stats();
            let bytes = (range.end - range.start).next_multiple_of(4096);
            assert!(bytes.next_multiple_of(page) - bytes >= 16 << 10);
            assert_eq!(
                after.read_bytes - before.read_bytes,
                bytes,
                "expert {expert}"
            );
            assert_eq!(after.ios - before.ios, members as u64);
        }
        // The whole page is read where the next one is read with it: then nothing of the hole is seen either.
        assert_eq!(made.errors(&engine, true), []);
        let all = field.read(whole(0).start..whole(EXPERTS - 1).end).unwrap();
        let range = whole(0).start as usize..whole(EXPERTS - 1).end as usize;
        assert!(all.to_vec() == made.field[range]);
    }
}

#[test]
fn experts_lie_in_the_order_that_was_asked_for() {
    for inner in [3u64, 40] {
        let names = names(3);
        let dims = [[64, inner, EXPERTS], [32, 64, EXPERTS]];
        let file = gguf(&experts(&names, &dims, TensorType::F32), inner, Some(0));
        let dir = quick_dir();
        let source = dir.path().join("moe.gguf");
        std::fs::write(&source, file.bytes()).unwrap();
        let target = dir.path().join("moe.rf");
        let order = |layer: u32| match layer {
            0 => Some(vec![5, 4, 3, 2, 1, 0]),
            1 => None,
            _ => Some(vec![2, 0, 1, 5, 3, 4]),
        };
        let pack = Pack::new([&source])
            .page_size(4096)
            .expert_order(|layer, experts| {
                assert_eq!(experts, EXPERTS);
                order(layer)
            });
        pack.run([&target], |_| true).unwrap();
        let engine = engine(4096);
        let field = engine.open_array([&target]).unwrap();
        let (model, plain) = (
            Gguf::of(&field).unwrap(),
            Gguf::open(&engine, &source).unwrap(),
        );
        for (one, other) in plain.tensors().zip(model.tensors()) {
            let (one, other) = (one.unwrap(), other.unwrap());
            check_rows(&other, 4096);
            assert!(
                bytes_of(&one).unwrap() == bytes_of(&other).unwrap(),
                "{}",
                one.name()
            );
        }
        for layer in 0..3 {
            let mut lies: Vec<(u64, u32)> = (0..EXPERTS)
                .map(|expert| (parts(&model, layer, expert)[0].start, expert as u32))
                .collect();
            lies.sort_unstable();
            let places = order(layer).unwrap_or((0..EXPERTS as u32).collect());
            for (place, (_, expert)) in lies.into_iter().enumerate() {
                assert_eq!(places[expert as usize] as usize, place, "layer {layer}");
            }
        }
        let unpacked = PackedField::of(field).unwrap();
        let out = quick_dir();
        let paths = unpacked.unpack(out.path(), false, |_| true).unwrap();
        assert!(std::fs::read(&paths[0]).unwrap() == file.bytes());
    }
}

#[test]
fn what_is_no_order_of_experts_is_refused() {
    let names = names(2);
    let dims = [[64, 5, EXPERTS], [32, 64, EXPERTS]];
    let file = gguf(&experts(&names, &dims, TensorType::F32), 1, Some(0));
    let dir = quick_dir();
    let source = dir.path().join("moe.gguf");
    std::fs::write(&source, file.bytes()).unwrap();
    let target = dir.path().join("moe.rf");
    for (first, second) in [
        (vec![], None),
        (vec![0, 1, 2, 3, 4], None),
        (vec![0, 1, 2, 3, 4, 4], None),
        (vec![0, 1, 2, 3, 4, 6], None),
        (vec![0, 1, 2, 3, 4, u32::MAX], None),
        (vec![0, 1, 2, 3, 4, 5, 6], None),
        (vec![0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5], None),
        // Only together they are whole.
        (vec![0, 1, 2], Some(vec![3, 4, 5, 0, 1, 2, 3, 4, 5])),
    ] {
        let pack = Pack::new([&source])
            .page_size(4096)
            .expert_order(|layer, _| match layer {
                0 => Some(first.clone()),
                _ => second.clone(),
            });
        let e = pack.run([&target], |_| true).unwrap_err();
        assert!(
            matches!(
                &e,
                Error::InvalidOption {
                    option: "expert_order",
                    ..
                }
            ),
            "{first:?}: {e:?}"
        );
        assert_eq!(listed(dir.path()), ["moe.gguf"]);
    }
}

#[test]
fn experts_with_a_tensor_each_lie_side_by_side() {
    let rows = [("ffn_gate", 11u64), ("ffn_up", 11), ("ffn_down", 40)];
    let mut owned = Vec::new();
    for (part, count) in rows {
        for expert in (0..4).rev() {
            for layer in [1, 0] {
                let columns = if part == "ffn_down" { 11 } else { 40 };
                owned.push((
                    format!("blk.{layer}.{part}.{expert}.weight"),
                    [columns, count],
                ));
            }
        }
    }
    let tensors: Vec<TensorOf<'_>> = owned
        .iter()
        .map(|(name, dims)| (name.as_str(), &dims[..], TensorType::F32))
        .collect();
    for page in [4096, 8192, 16 << 10] {
        let made = Made::new(&gguf(&tensors, 9, None), 2, page);
        let engine = engine(page);
        assert_eq!(made.errors(&engine, true), []);
        let field = engine.open_array(&made.paths).unwrap();
        let model = Gguf::of(&field).unwrap();
        let packed = PackedField::of(field).unwrap();
        let mut starts: BTreeMap<(u32, u64), Vec<(u64, u64)>> = BTreeMap::new();
        for tensor in model.tensors() {
            let tensor = tensor.unwrap();
            check_rows(&tensor, page);
            let mut numbers = tensor
                .name()
                .split('.')
                .filter_map(|part| part.parse::<u32>().ok());
            let key = (numbers.next().unwrap(), numbers.next().unwrap().into());
            let range = tensor.range();
            starts
                .entry(key)
                .or_default()
                .push((range.start, range.end));
        }
        let mut before = 0;
        for (key, mut parts) in starts {
            parts.sort_unstable();
            assert_eq!(parts.len(), 3);
            assert!(parts[0].0 >= before, "{key:?} lies behind those before it");
            // Between two parts lies at most what a row leaves of a page.
            assert!(parts.windows(2).all(|two| two[1].0 - two[0].1 < 256));
            before = parts[2].1;
        }
        for tensor in packed.tensors() {
            let tensor = tensor.unwrap();
            assert!(tensor.role.is_expert() && tensor.experts == 1, "{tensor:?}");
        }
    }
}

/// Packs safetensors files, and compares everything.
fn safetensors_round_trip(
    files: &[(&str, Vec<u8>)],
    members: usize,
    page: u64,
) -> (PackedField, tempfile::TempDir, Engine) {
    let dir = quick_dir();
    let sources: Vec<PathBuf> = files
        .iter()
        .map(|(name, bytes)| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        })
        .collect();
    let paths: Vec<PathBuf> = (0..members)
        .map(|k| dir.path().join(format!("{k}.rf")))
        .collect();
    Pack::new(&sources)
        .page_size(page)
        .run(&paths, |_| true)
        .unwrap();
    let engine = engine(page);
    let field = engine.open_array(&paths).unwrap();
    for (number, source) in sources.iter().enumerate() {
        let (plain, model) = (
            SafeTensors::open(&engine, source).unwrap(),
            SafeTensors::of(&field, number as u32).unwrap(),
        );
        assert_eq!(plain.tensor_count(), model.tensor_count());
        for (one, other) in plain.tensors().zip(model.tensors()) {
            let (one, other) = (one.unwrap(), other.unwrap());
            assert_eq!(
                (one.name(), one.shape(), one.dtype()),
                (other.name(), other.shape(), other.dtype())
            );
            assert_eq!(
                (one.bytes(), one.row_bytes()),
                (other.bytes(), other.row_bytes()),
                "{}",
                one.name()
            );
            let read = |runs: Vec<Range<u64>>, field: &ringfield::Field| -> Vec<u8> {
                runs.into_iter()
                    .flat_map(|run| {
                        run.clone()
                            .step_by(4096)
                            .flat_map(|at| field.read(at..run.end.min(at + 4096)).unwrap().to_vec())
                            .collect::<Vec<u8>>()
                    })
                    .collect()
            };
            let (one_bytes, other_bytes) = (
                read(one.runs().collect(), one.field()),
                read(other.runs().collect(), other.field()),
            );
            assert!(one_bytes == other_bytes, "{}", one.name());
        }
    }
    let packed = PackedField::of(field).unwrap();
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let paths = packed.unpack(&out, false, |_| true).unwrap();
    for ((_, bytes), path) in files.iter().zip(&paths) {
        assert!(std::fs::read(path).unwrap() == *bytes, "{}", path.display());
    }
    (packed, dir, engine)
}

/// A safetensors file of tensors: name, type, shape, bytes of all.
fn safe(tensors: &[(&str, &str, &[u64], u64)], seed: u64) -> Vec<u8> {
    let mut at = 0;
    let records: Vec<String> = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            let begin = at;
            at += bytes;
            format!(
                r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{at}]}}"#
            )
        })
        .collect();
    safetensors(
        &format!("{{{}}}", records.join(",")),
        &random_bytes(seed, at as usize),
    )
}

#[test]
fn safetensors_of_experts_lie_side_by_side_over_all_their_files() {
    let mut owned = Vec::new();
    for part in ["down_proj", "gate_proj", "up_proj"] {
        for expert in 0..5 {
            owned.push(format!("model.layers.0.mlp.experts.{expert}.{part}.weight"));
        }
    }
    let shape = [24u64, 16];
    let tensors: Vec<(&str, &str, &[u64], u64)> = owned
        .iter()
        .map(|name| (name.as_str(), "BF16", &shape[..], 24 * 16 * 2))
        .collect();
    // The parts of an expert are in two files.
    let files = [
        ("model-00001-of-00002.safetensors", safe(&tensors[..8], 1)),
        ("model-00002-of-00002.safetensors", safe(&tensors[8..], 2)),
    ];
    for page in [4096, 64 << 10] {
        let (packed, ..) = safetensors_round_trip(&files, 2, page);
        let mut by_expert: BTreeMap<u32, Vec<(u64, TensorRole)>> = BTreeMap::new();
        for tensor in packed.tensors() {
            let tensor = tensor.unwrap();
            let expert = tensor.name.split('.').nth(5).unwrap().parse().unwrap();
            by_expert
                .entry(expert)
                .or_default()
                .push((tensor.start, tensor.role));
        }
        let mut before = 0;
        for (expert, mut parts) in by_expert {
            parts.sort_unstable();
            let roles: Vec<TensorRole> = parts.iter().map(|part| part.1).collect();
            assert_eq!(
                roles,
                [
                    TensorRole::ExpertGate,
                    TensorRole::ExpertUp,
                    TensorRole::ExpertDown
                ]
            );
            assert!(parts[0].0 >= before, "expert {expert}");
            assert!(parts[2].0 - parts[0].0 <= 2 * 24 * 16 * 2);
            before = parts[2].0;
        }
    }
}

/// Where each expert lies, from its first byte to its last; `places` has a part of each for every tensor.
fn spans(places: &[Vec<Range<u64>>]) -> Vec<Range<u64>> {
    let of = |expert: usize| {
        let parts = places.iter().map(move |places| &places[expert]);
        let start = parts.clone().map(|part| part.start).min().unwrap();
        start..parts.map(|part| part.end).max().unwrap()
    };
    (0..places[0].len()).map(of).collect()
}

#[test]
fn experts_in_fused_tensors_lie_side_by_side_with_their_biases_and_scales() {
    let (experts, hidden, inner) = (4u64, 24u64, 20u64);
    let name = |part: &str| format!("model.layers.0.mlp.experts.{part}");
    let parts = [
        (name("down_proj_bias"), "BF16", vec![experts, hidden]),
        (name("down_proj_scales"), "U8", vec![experts, hidden, 2]),
        (name("down_proj"), "BF16", vec![experts, inner, hidden]),
        (name("gate_up_proj"), "U8", vec![experts, hidden, 2, inner]),
        (name("gate_up_proj_bias"), "BF16", vec![experts, 2 * inner]),
    ];
    let width = |dtype: &str| if dtype == "U8" { 1 } else { 2 };
    let all: Vec<(&str, &str, &[u64], u64)> = parts
        .iter()
        .map(|(name, dtype, shape)| {
            let bytes = shape.iter().product::<u64>() * width(dtype);
            (name.as_str(), *dtype, &shape[..], bytes)
        })
        .collect();
    let bytes: u64 = all.iter().map(|part| part.3 / experts).sum();
    for page in [4096, 8192, 64 << 10] {
        let (packed, dir, engine) =
            safetensors_round_trip(&[("moe.safetensors", safe(&all, 3))], 1, page);
        for tensor in packed.tensors() {
            let tensor = tensor.unwrap();
            assert!(tensor.role.is_expert(), "{tensor:?}");
            assert_eq!(tensor.experts, experts, "{tensor:?}");
        }
        let field = engine.open_array([dir.path().join("0.rf")]).unwrap();
        let model = SafeTensors::of(&field, 0).unwrap();
        let places: Vec<Vec<Range<u64>>> = model
            .tensors()
            .map(|tensor| {
                let tensor = tensor.unwrap();
                let runs: Vec<Range<u64>> = tensor.runs().collect();
                // An expert's part is one run here: it ends on no page before it is over.
                assert_eq!(runs.len() as u64, experts, "{}", tensor.name());
                runs
            })
            .collect();
        for two in spans(&places).windows(2) {
            assert!(
                two[0].end <= two[1].start,
                "experts lie one behind the other"
            );
            assert!(two[0].end - two[0].start < bytes + 64 * parts.len() as u64);
        }
    }
}

#[test]
fn biases_of_experts_lie_with_them_and_what_is_not_cut_lies_behind() {
    let names = ["down", "gate", "up"].map(|part| format!("blk.0.ffn_{part}_exps"));
    let mut owned = Vec::new();
    for name in &names {
        // Before the weights in the file, so that their order is not that of the file.
        owned.push((format!("{name}.scale"), vec![EXPERTS]));
        owned.push((format!("{name}.bias"), vec![32, EXPERTS]));
        owned.push((format!("{name}.weight"), vec![32, 32, EXPERTS]));
    }
    let tensors: Vec<TensorOf<'_>> = owned
        .iter()
        .map(|(name, dims)| (name.as_str(), &dims[..], TensorType::F32))
        .collect();
    let made = Made::new(&gguf(&tensors, 4, None), 1, 16 << 10);
    let engine = engine(16 << 10);
    assert_eq!(made.errors(&engine, true), []);
    let model = Gguf::of(&engine.open_array(&made.paths).unwrap()).unwrap();
    let (mut places, mut behind) = (Vec::new(), Vec::new());
    for tensor in model.tensors() {
        let tensor = tensor.unwrap();
        let rows = tensor.rows() / EXPERTS;
        if tensor.name().ends_with("scale") {
            behind.push(tensor.range().start);
            continue;
        }
        let of = |expert| tensor.rows_at(expert * rows..(expert + 1) * rows);
        places.push((0..EXPERTS).map(of).collect::<Vec<_>>());
    }
    let spans = spans(&places);
    for two in spans.windows(2) {
        assert!(
            two[0].end <= two[1].start,
            "experts lie one behind the other"
        );
    }
    assert!(
        behind
            .iter()
            .all(|&at| at >= spans[EXPERTS as usize - 1].end)
    );
}

#[test]
fn safetensors_of_every_shape_come_back() {
    let file = safe(
        &[
            ("none", "F32", &[], 4),
            ("nothing", "F32", &[0], 0),
            ("no rows", "F32", &[0, 5], 0),
            ("empty rows", "F32", &[7, 0], 0),
            (
                "model.layers.1.mlp.experts.0.up_proj.weight",
                "F32",
                &[0, 5],
                0,
            ),
            ("one", "U8", &[1], 1),
            ("odd", "U8", &[3, 7], 21),
            ("cut", "F4", &[2, 5], 5),
            ("long rows", "F64", &[3, 700], 3 * 700 * 8),
            ("eight", "BOOL", &[1, 2, 1, 3, 1, 2, 1, 2], 24),
            (
                "fused.experts.gate_up_proj",
                "BF16",
                &[4, 30, 20],
                4 * 30 * 20 * 2,
            ),
            // More than a model has experts: not cut.
            ("many.experts.up_proj", "U8", &[70_000, 1, 1], 70_000),
            ("page", "U8", &[2, 4096], 8192),
            ("last nothing", "I64", &[3, 0, 2], 0),
        ],
        5,
    );
    for (members, page) in [(1, 4096), (3, 4096), (2, 64 << 10)] {
        let files = [("a.safetensors", file.clone())];
        let (packed, ..) = safetensors_round_trip(&files, members, page);
        for tensor in packed.tensors() {
            let tensor = tensor.unwrap();
            let fused = tensor.name.starts_with("fused");
            assert_eq!(tensor.experts, if fused { 4 } else { 1 }, "{tensor:?}");
        }
    }
    // A file of no tensors at all, and many members for few pages.
    safetensors_round_trip(&[("b.safetensors", safe(&[], 1))], 1, 4096);
    safetensors_round_trip(&[("b.safetensors", safe(&[], 1))], 64, 4096);
}

#[test]
fn files_that_cannot_be_told_apart_or_do_not_belong_together_are_refused() {
    let dir = quick_dir();
    let one = dir.path().join("a.safetensors");
    std::fs::write(&one, safe(&[("t", "U8", &[3], 3)], 1)).unwrap();
    let sub = dir.path().join("sub");
    std::fs::create_dir(&sub).unwrap();
    let two = sub.join("a.safetensors");
    std::fs::copy(&one, &two).unwrap();
    let model = dir.path().join("m.gguf");
    std::fs::write(
        &model,
        gguf(&[("t", &[8], TensorType::F32)], 1, None).bytes(),
    )
    .unwrap();
    let target = dir.path().join("out.rf");
    for sources in [
        vec![&one, &two],
        vec![&one, &one],
        vec![&one, &model],
        vec![&model, &one],
        vec![&model, &model],
        vec![],
    ] {
        let e = Pack::new(&sources).run([&target], |_| true).unwrap_err();
        assert!(
            matches!(&e, Error::InvalidOption { option: "pack", .. }),
            "{sources:?}: {e:?}"
        );
        assert!(!target.exists());
    }
    for members in [vec![], vec![&target, &target], vec![&target; 65]] {
        let e = Pack::new([&one]).run(&members, |_| true).unwrap_err();
        assert!(
            matches!(
                &e,
                Error::InvalidOption {
                    option: "members",
                    ..
                }
            ),
            "{e:?}"
        );
    }
    for page in [0, 2048, 4097, 12_288, 8 << 20, u64::MAX] {
        let e = Pack::new([&one])
            .page_size(page)
            .run([&target], |_| true)
            .unwrap_err();
        assert!(
            matches!(
                &e,
                Error::InvalidOption {
                    option: "page_size",
                    ..
                }
            ),
            "{e:?}"
        );
    }
    assert_eq!(listed(dir.path()), ["a.safetensors", "m.gguf", "sub"]);
}

/// Files of a set: number and tensors of each.
fn split(parts: &[&[TensorOf<'_>]]) -> Vec<GgufFile> {
    let count = parts.len() as u16;
    let all: usize = parts.iter().map(|part| part.len()).sum();
    let parts = parts.iter().enumerate().map(|(number, tensors)| {
        let mut file = gguf(tensors, number as u64, Some(0));
        for (key, value) in [("split.no", number as u16), ("split.count", count)] {
            file.keys
                .push((key.into(), U16, value.to_le_bytes().to_vec()));
        }
        file.keys.push((
            b"split.tensors.count".to_vec(),
            5,
            (all as i32).to_le_bytes().to_vec(),
        ));
        file
    });
    parts.collect()
}

#[test]
fn split_models_come_back_file_by_file() {
    let parts = split(&[
        &[
            ("token_embd.weight", &[64, 50], TensorType::F32),
            ("blk.1.ffn_up.weight", &[32, 3], TensorType::F32),
        ],
        &[],
        &[("blk.0.ffn_up.weight", &[32, 100], TensorType::Q8_0)],
    ]);
    let dir = quick_dir();
    let name = |k: usize| format!("big-{:05}-of-00003.gguf", k + 1);
    for (k, file) in parts.iter().enumerate() {
        std::fs::write(dir.path().join(name(k)), file.bytes()).unwrap();
    }
    let paths: Vec<PathBuf> = (0..2).map(|k| dir.path().join(format!("{k}.rf"))).collect();
    // Any of them stands for all.
    Pack::new([dir.path().join(name(1))])
        .page_size(4096)
        .run(&paths, |_| true)
        .unwrap();
    let engine = engine(4096);
    let field = engine.open_array(&paths).unwrap();
    let (model, plain) = (
        Gguf::of(&field).unwrap(),
        Gguf::open(&engine, dir.path().join(name(0))).unwrap(),
    );
    assert_eq!(model.tensor_count(), 3);
    for (one, other) in plain.tensors().zip(model.tensors()) {
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!(one.name(), other.name());
        assert!(bytes_of(&one).unwrap() == bytes_of(&other).unwrap());
    }
    let packed = PackedField::of(field).unwrap();
    let files = packed.files().unwrap();
    assert_eq!(
        files.iter().map(|file| file.tensors).collect::<Vec<_>>(),
        [2, 0, 1]
    );
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    packed.unpack(&out, false, |_| true).unwrap();
    for (k, file) in parts.iter().enumerate() {
        assert!(std::fs::read(out.join(name(k))).unwrap() == file.bytes());
    }
}

#[test]
fn pages_of_every_size_and_more_members_than_pages() {
    let tensors: [TensorOf<'_>; 5] = [
        ("token_embd.weight", &[3000, 7], TensorType::F32),
        ("blk.0.attn_norm.weight", &[3000], TensorType::F32),
        ("blk.0.attn_q.weight", &[32, 1, 1, 1], TensorType::Q8_0),
        ("weird", &[1, 1, 5, 3], TensorType::I8),
        ("output.weight", &[1, 999], TensorType::F16),
    ];
    for padding in [Some(0), Some(7), None] {
        let file = gguf(&tensors, 31, padding);
        for shift in 12..=22 {
            for members in [1, 2, 7] {
                if padding.is_some() && members != 2 {
                    continue;
                }
                let made = Made::new(&file, members, 1 << shift);
                let engine = engine(1 << shift);
                assert_eq!(
                    made.errors(&engine, true),
                    [],
                    "pages of 2^{shift} on {members}"
                );
            }
        }
    }
    let one: [TensorOf<'_>; 1] = [("t", &[8], TensorType::F32)];
    for members in [1, 5, 33, 64] {
        let made = Made::new(&gguf(&one, 1, None), members, 4096);
        assert_eq!(made.pages() as usize, members);
        assert_eq!(made.errors(&engine(4096), true), []);
    }
    // The keys of a model without tensors.
    let mut bare = GgufFile::new();
    bare.tensors.clear();
    bare.data.clear();
    bare.keys.push((b"more".to_vec(), STRING, string(b"text")));
    bare.keys
        .push((b"and more".to_vec(), U32, vec![1, 2, 3, 4]));
    let made = Made::new(&bare, 2, 4096);
    assert_eq!(made.errors(&engine(4096), true), []);
}

#[test]
fn the_smallest_pool_unpacks() {
    let tensors: [TensorOf<'_>; 2] = [
        ("token_embd.weight", &[100, 900], TensorType::F32),
        ("blk.0.ffn_up_exps.weight", &[33, 5, 80], TensorType::F32),
    ];
    for page in [4096u64, 256 << 10] {
        let made = Made::new(&gguf(&tensors, 2, None), 3, page);
        let builder = crate::made::builder(page);
        let Err(Error::BudgetTooSmall { minimum, .. }) = builder.dram_budget(1).build() else {
            panic!("a byte is too small");
        };
        let engine = crate::made::builder(page)
            .dram_budget(minimum)
            .build()
            .unwrap();
        assert!(engine.stats().frames < 16);
        let field = engine.open_array(&made.paths).unwrap();
        let out = quick_dir();
        let paths = PackedField::of(field)
            .unwrap()
            .unpack(out.path(), false, |_| true)
            .unwrap();
        assert!(
            std::fs::read(&paths[0]).unwrap() == made.model,
            "pages of {page}"
        );
        let stats = engine.stats();
        assert_eq!(stats.frames_pinned, 0, "{stats}");
    }
}
