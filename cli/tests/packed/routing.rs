//! `ringfield pack --routing`: experts lie as they fire together.

use std::fs;

use crate::{json, made, names, refused, text};

/// Layer 0: expert 5 fires with 2, 2 with 0. Layer 1 says nothing of expert order beyond 4 before 1.
const LOG: &str = "# route_trace v1\n# layer=0 expert_bytes=10\nturn,phase,step,layer,slot,expert,weight\n\
    0,0,0,0,0,5,0.5\n0,0,0,0,1,2,0.4\n0,0,0,1,0,4,1\n0,0,1,0,0,2,0.5\n0,0,1,0,1,5,0.4\n\
    0,1,1,0,0,2,0.5\n0,1,1,0,1,0,0.5\n0,1,1,1,0,4,1\n1,1,1,1,0,1,1\n";

#[test]
fn experts_lie_in_the_order_of_the_log_and_the_model_is_the_same() {
    let dir = made::dir();
    let at = dir.path();
    let model = fs::read(made::experts(at)).expect("read");
    fs::write(at.join("route.csv"), LOG).expect("written");
    let pack = [
        "pack",
        "experts.gguf",
        "--page-size",
        "4KiB",
        "--routing",
        "route.csv",
    ];
    let packed = json(at, &[&pack[..], &["--out", "a.rf"]].concat());
    assert_eq!(packed["ordered_layers"], 2);
    let said = text(at, &[&pack[..], &["--out", "b.rf"]].concat());
    assert!(
        said.contains("the experts of 2 layers lie as they fire together"),
        "{said}"
    );

    // Where each expert's first row lies in the packed file says in which order they do.
    let field = fs::read(at.join("a.rf")).expect("read");
    let data = model.len() - 2 * 2 * made::EXPERT_BYTES * made::EXPERTS as usize;
    for (layer, expected) in [(0, [2, 5, 0, 1, 3, 4]), (1, [4, 1, 0, 2, 3, 5])] {
        let first = data + layer * 2 * made::EXPERT_BYTES * made::EXPERTS as usize;
        let row = |expert: usize| &model[first + expert * made::EXPERT_BYTES..][..64];
        let place = |expert: usize| {
            field
                .windows(64)
                .position(|bytes| bytes == row(expert))
                .expect("there")
        };
        let mut order: Vec<usize> = (0..made::EXPERTS as usize).collect();
        order.sort_by_key(|&expert| place(expert));
        assert_eq!(order, expected, "layer {layer}");
    }
    fs::create_dir(at.join("to")).expect("made");
    text(at, &["unpack", "a.rf", "--to", "to"]);
    assert!(fs::read(at.join("to/experts.gguf")).expect("read") == model);
}

#[test]
fn a_row_that_is_wrong_is_told_with_its_line() {
    let dir = made::dir();
    let at = dir.path();
    made::experts(at);
    let long = format!("step,layer,expert\n0,0,{}\n", "1".repeat(5000));
    let many: String = (0..70).map(|expert| format!("0,0,{expert}\n")).collect();
    let many = format!("step,layer,expert\n{many}");
    for (log, says) in [
        (&b""[..], "route.csv:1: is empty"),
        (b"# only this\n", "route.csv:1: is empty"),
        (
            b"step,layer,expert\n",
            "route.csv:1: no row of an expert that fired",
        ),
        (b"step,layer\n0,0\n", "route.csv:1: no column `expert`"),
        (b"0,0,5\n", "route.csv:1: no column `step`"),
        (
            b"# c\nstep,layer,expert\n0,0,5\n\n0,zero,5\n",
            "route.csv:5: layer is `zero`, and a number",
        ),
        (
            b"step,layer,expert\n0,0,5\n0,0\n",
            "route.csv:3: 2 values, and 3 columns have names",
        ),
        (
            b"step,layer,expert\n0,0,-1\n",
            "route.csv:2: expert is `-1`",
        ),
        (
            b"step,layer,expert\n0,0,\x1b[2J\n",
            "route.csv:2: expert is `\\u{1b}[2J`",
        ),
        (
            b"step,layer,expert\n0,0,4096\n",
            "route.csv:2: expert 4096 is too large",
        ),
        (
            b"step,layer,expert\n0,4294967296,1\n",
            "route.csv:2: layer 4294967296 is too large",
        ),
        (
            b"step,layer,expert\n0,0,3\n0,0,3\n",
            "route.csv:3: expert 3 fires a second time",
        ),
        (b"step,layer,expert\n0,0,\xff\n", "route.csv:2: is no text"),
        (long.as_bytes(), "route.csv:2: longer than 4096 bytes"),
        (many.as_bytes(), "route.csv:66: more than 64 experts"),
        (
            b"\x1f\x8b\x08\x00",
            "route.csv:1: is compressed: give what `gunzip` makes of it",
        ),
        (
            b"step,layer,expert\n0,0,6\n",
            "route.csv: expert 6 of layer 0 fired, and the model has 6 experts there",
        ),
        (
            b"step,layer,expert\n0,9,1\n",
            "route.csv: no layer of the model",
        ),
    ] {
        fs::write(at.join("route.csv"), log).expect("written");
        let said = refused(
            at,
            &[
                "pack",
                "experts.gguf",
                "--out",
                "a.rf",
                "--routing",
                "route.csv",
            ],
        );
        assert!(said.contains(says), "{said}");
        assert_eq!(
            names(at),
            ["experts.gguf", "route.csv"],
            "nothing is left: {said}"
        );
    }
    fs::remove_file(at.join("route.csv")).expect("removed");
    assert!(
        refused(
            at,
            &[
                "pack",
                "experts.gguf",
                "--out",
                "a.rf",
                "--routing",
                "route.csv"
            ]
        )
        .contains("route.csv: No such")
    );
}
