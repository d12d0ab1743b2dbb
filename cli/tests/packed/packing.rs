//! `ringfield pack` and `ringfield unpack`.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{flip, json, made, names, refused, ringfield, text};

#[test]
fn what_was_packed_comes_back_byte_for_byte() {
    let dir = made::dir();
    let at = dir.path();
    for model in [made::model(at), made::experts(at), made::safetensors(at)] {
        let name = model
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        let bytes = fs::read(&model).expect("read");
        for (page_size, outs) in [
            ("4KiB", &["a.rf"][..]),
            ("256KiB", &["b.rf"]),
            ("4KiB", &["m0", "m1", "m2"]),
        ] {
            let mut arguments = vec!["pack", name, "--page-size", page_size];
            outs.iter().for_each(|out| arguments.extend(["--out", out]));
            let packed = json(at, &arguments);
            assert_eq!(packed["source_bytes"], bytes.len());
            assert_eq!(packed["files"], serde_json::json!(outs));
            let on_disk: u64 = outs
                .iter()
                .map(|out| fs::metadata(at.join(out)).expect("there").len())
                .sum();
            assert_eq!(packed["packed_bytes"], on_disk);

            fs::create_dir(at.join("to")).expect("made");
            let unpacked = json(at, &[&["unpack", "--to", "to"], outs].concat());
            assert_eq!(unpacked["files"], serde_json::json!([format!("to/{name}")]));
            assert_eq!(unpacked["bytes"], bytes.len());
            assert!(
                fs::read(at.join("to").join(name)).expect("read") == bytes,
                "{name} {outs:?}"
            );
            fs::remove_dir_all(at.join("to")).expect("removed");
            outs.iter()
                .for_each(|out| fs::remove_file(at.join(out)).expect("removed"));
        }
    }
}

#[test]
fn several_files_of_a_model_are_one_field() {
    let dir = made::dir();
    let at = dir.path();
    let one = fs::read(made::safetensors(at)).expect("read");
    fs::rename(at.join("model.safetensors"), at.join("1.safetensors")).expect("renamed");
    // Another name of as many letters, other bytes.
    let text_of = |bytes: &[u8]| bytes.windows(9).position(|bytes| bytes == b"layers.0.");
    let mut two = one.clone();
    two[text_of(&one).expect("there") + 7] = b'1';
    two.iter_mut()
        .rev()
        .take(60_001)
        .for_each(|byte| *byte ^= 0x55);
    fs::write(at.join("2.safetensors"), &two).expect("written");
    text(
        at,
        &["pack", "1.safetensors", "2.safetensors", "--out", "a.rf"],
    );
    let listing = json(at, &["safetensors", "list", "a.rf"]);
    let tensors = listing["tensors"].as_array().expect("an array").iter();
    let names_of: Vec<_> = tensors
        .map(|tensor| tensor["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(names_of.len(), 4);
    for layer in [
        "model.layers.0.mlp.up_proj.weight",
        "model.layers.1.mlp.up_proj.weight",
    ] {
        assert!(names_of.contains(&layer), "{names_of:?}");
    }
    let verified = json(at, &["safetensors", "verify", "a.rf", "--backend", "pread"]);
    assert_eq!(
        (&verified[0]["tensors"], &verified[0]["wrong"]),
        (&4.into(), &serde_json::json!([]))
    );

    // One of the two is in the way: neither is written.
    fs::create_dir(at.join("to")).expect("made");
    fs::write(at.join("to/2.safetensors"), "something else").expect("written");
    let said = refused(at, &["unpack", "a.rf", "--to", "to"]);
    assert!(said.contains("to/2.safetensors is there already"), "{said}");
    assert_eq!(names(&at.join("to")), ["2.safetensors"]);
    text(at, &["unpack", "a.rf", "--to", "to", "--replace"]);
    assert!(fs::read(at.join("to/1.safetensors")).expect("read") == one);
    assert!(fs::read(at.join("to/2.safetensors")).expect("read") == two);
}

#[test]
fn json_says_what_was_packed_and_the_numbers_add_up() {
    let dir = made::dir();
    made::model(dir.path());
    let packed = json(
        dir.path(),
        &["pack", "tiny.gguf", "--out", "a.rf", "--page-size", "8KiB"],
    );
    let number = |key: &str| packed[key].as_u64().expect("a number");
    assert_eq!((number("tensors"), number("page_bytes")), (20, 8192));
    assert_eq!(
        number("packed_bytes"),
        number("pages") * 8192 + number("checksum_bytes")
    );
    assert!(number("padding_bytes") < number("packed_bytes"));
    assert!(number("hole_bytes") < number("packed_bytes"));
    assert_eq!(number("ordered_layers"), 0);
    assert!(packed["seconds"].as_f64() > Some(0.0) && packed["bw_bytes"].as_f64() > Some(0.0));
    let default = json(dir.path(), &["pack", "tiny.gguf", "--out", "b.rf"]);
    assert_eq!(default["page_bytes"], 256 << 10);
}

#[test]
fn the_summary_ends_with_the_next_command() {
    let dir = made::dir();
    made::model(dir.path());
    made::safetensors(dir.path());
    let said = text(
        dir.path(),
        &["pack", "tiny.gguf", "--out", "a.rf", "--out", "b.rf"],
    );
    assert!(
        said.contains("20 tensors, ") && said.contains(" packed into 2 files of "),
        "{said}"
    );
    assert!(
        said.contains("pages of 256 KiB: padding ") && said.contains(" MB/s"),
        "{said}"
    );
    assert!(
        said.contains("  ringfield run a.rf --member b.rf -p "),
        "{said}"
    );
    assert!(said.ends_with("  ringfield verify a.rf b.rf\n"), "{said}");
    let said = text(dir.path(), &["pack", "model.safetensors", "--out", "c.rf"]);
    assert!(
        said.contains("  ringfield safetensors list c.rf\n"),
        "{said}"
    );
    assert!(!said.contains('\x1b'));
}

#[test]
fn what_is_there_is_kept_unless_it_may_be_replaced() {
    let dir = made::dir();
    let at = dir.path();
    let model = fs::read(made::model(at)).expect("read");
    fs::write(at.join("b.rf"), "something else").expect("written");
    let there = |arguments: &[&str], says: &str| {
        let said = refused(at, arguments);
        assert!(said.contains(says) && said.contains("--replace"), "{said}");
    };
    there(
        &["pack", "tiny.gguf", "--out", "a.rf", "--out", "b.rf"],
        "--out b.rf: is there already",
    );
    assert_eq!(names(at), ["b.rf", "tiny.gguf"]);
    assert_eq!(fs::read(at.join("b.rf")).expect("read"), b"something else");

    text(at, &["pack", "tiny.gguf", "--out", "b.rf", "--replace"]);
    flip(&at.join("tiny.gguf"), 100);
    there(&["unpack", "b.rf"], "tiny.gguf is there already");
    assert!(fs::read(at.join("tiny.gguf")).expect("read") != model);
    text(at, &["unpack", "b.rf", "--replace"]);
    assert!(fs::read(at.join("tiny.gguf")).expect("read") == model);
    assert_eq!(names(at), ["b.rf", "tiny.gguf"]);
}

#[test]
fn what_cannot_be_packed_or_unpacked_is_one_line_and_leaves_nothing() {
    let dir = made::dir();
    let at = dir.path();
    made::model(at);
    made::safetensors(at);
    fs::write(at.join("noise"), [7; 5000]).expect("written");
    text(
        at,
        &["pack", "tiny.gguf", "--out", "a.rf", "--page-size", "4KiB"],
    );
    text(
        at,
        &[
            "pack",
            "tiny.gguf",
            "--out",
            "m0",
            "--out",
            "m1",
            "--page-size",
            "4KiB",
        ],
    );
    let before = names(at);
    let absolute = at.join("n.rf").display().to_string();
    for (arguments, says) in [
        (
            &["pack", "absent.gguf", "--out", "n.rf"][..],
            "absent.gguf: No such file",
        ),
        (
            &[
                "pack",
                "model.safetensors",
                "./model.safetensors",
                "--out",
                "n.rf",
            ],
            "./model.safetensors: another file to be packed has this name too",
        ),
        (
            &["pack", "noise", "--out", "n.rf"],
            "noise: not a valid safetensors file",
        ),
        (
            &["pack", "a.rf", "--out", "n.rf"],
            "a.rf is a packed field already: `ringfield unpack a.rf`",
        ),
        (
            &["pack", "tiny.gguf", "model.safetensors", "--out", "n.rf"],
            "is a safetensors file",
        ),
        (
            &["pack", "tiny.gguf", "--out", "n.rf", "--page-size", "5000"],
            "page_size = 5000: a power of two",
        ),
        (
            &["pack", "tiny.gguf", "--out", "none/n.rf"],
            "cannot make none/n.rf: No such file",
        ),
        (
            &["pack", "tiny.gguf", "--out", "n.rf", "--out", &absolute],
            "is named twice",
        ),
        (
            &["unpack", "tiny.gguf"],
            "tiny.gguf: not a valid packed field file",
        ),
        (
            &["unpack", "m1"],
            "m1: member 0 of 2 is missing: name the files of all members",
        ),
        (&["unpack", "a.rf", "m0"], "not of one array"),
        (
            &["unpack", "a.rf", "--to", "none"],
            "cannot make none/tiny.gguf",
        ),
    ] {
        let said = refused(at, arguments);
        assert!(
            said.starts_with("ringfield: ") && said.contains(says),
            "{said}"
        );
        assert_eq!(names(at), before, "{arguments:?}");
    }
    assert_eq!(ringfield(at, &["pack", "tiny.gguf"]).status.code(), Some(2));
    assert_eq!(ringfield(at, &["unpack"]).status.code(), Some(2));
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    let dir = made::dir();
    let at = dir.path();
    // Large enough to be at work when the signal comes, and read by no more than the page cache.
    let mut file = made::Gguf::default();
    file.tensor("token_embd.weight", &[1024, 30_000], 0.0, 1.0);
    file.write(&at.join("large.gguf"));
    let pack = |extra: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfield"));
        command
            .current_dir(at)
            .args(["pack", "large.gguf", "--out", "a.rf", "--page-size", "4KiB"])
            .args(extra);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("it starts")
    };
    let child = pack(&[]);
    let working = format!("/proc/{}/fd", child.id());
    let deadline = Instant::now() + Duration::from_secs(60);
    // A file without a name, or with one that says that it is not whole.
    let begun = || {
        let entries = fs::read_dir(&working).into_iter().flatten().flatten();
        let links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
        let mut links = links.map(|link| link.to_string_lossy().into_owned());
        links.any(|link| link.contains("(deleted)") || link.contains("partial"))
    };
    while !begun() {
        assert!(Instant::now() < deadline, "it never began to write");
        std::thread::sleep(Duration::from_millis(1));
    }
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(sent.is_ok_and(|status| status.success()));
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "ringfield: interrupted\n"
    );
    assert_eq!(names(at), ["large.gguf"]);
}
