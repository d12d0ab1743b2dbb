//! `ringfield verify`, and what the others say to a field that is damaged.

use std::fs;

use serde_json::Value;

use crate::{flip, json, made, refused, ringfield, text};

/// A field of one member with pages of 4 KiB, and what it says of itself.
fn field() -> (tempfile::TempDir, Value) {
    let dir = made::dir();
    made::model(dir.path());
    text(
        dir.path(),
        &["pack", "tiny.gguf", "--out", "a.rf", "--page-size", "4KiB"],
    );
    let facts = json(dir.path(), &["inspect", "a.rf"])["files"][0].clone();
    (dir, facts)
}

/// What `verify --json` prints of a field that is damaged.
#[track_caller]
fn damaged(dir: &std::path::Path, arguments: &[&str]) -> Value {
    let output = ringfield(dir, &[&["verify", "--json"], arguments].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the field is damaged in "), "{said}");
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

#[test]
fn a_whole_field_is_whole() {
    let (dir, facts) = field();
    let found = json(dir.path(), &["verify", "a.rf"]);
    assert_eq!(
        (&found["whole"], &found["damage_count"]),
        (&true.into(), &0.into())
    );
    assert_eq!(
        (&found["pages"], &found["bytes"]),
        (&facts["pages"], &facts["bytes"])
    );
    for key in ["damages", "repaired", "missing"] {
        assert_eq!(found[key], serde_json::json!([]), "{key}");
    }
    let said = text(dir.path(), &["verify", "a.rf"]);
    assert!(
        said.starts_with("all whole: ") && said.lines().count() == 1,
        "{said}"
    );
}

#[test]
fn each_flipped_byte_is_found_with_its_file_page_and_offset() {
    let (dir, facts) = field();
    let data_at = facts["data_at"].as_u64().expect("a number");
    for page in [3, 7] {
        flip(&dir.path().join("a.rf"), data_at + page * 4096 + 1234);
    }
    let found = damaged(dir.path(), &["a.rf"]);
    assert_eq!(
        (&found["whole"], &found["damage_count"]),
        (&false.into(), &2.into())
    );
    let mut damages = found["damages"].as_array().expect("an array").clone();
    damages.sort_by_key(|damage| damage["page"].as_u64());
    for (damage, page) in damages.iter().zip([3, 7]) {
        assert_eq!(
            (&damage["file"], &damage["member"]),
            (&"a.rf".into(), &0.into())
        );
        assert_eq!(
            (&damage["page"], &damage["offset"]),
            (&page.into(), &(data_at + page * 4096).into())
        );
        assert!(
            damage["cause"]
                .as_str()
                .is_some_and(|cause| cause.contains("checksum")),
            "{damage}"
        );
    }
    let output = ringfield(dir.path(), &["verify", "a.rf"]);
    let said = String::from_utf8(output.stdout).expect("text");
    let line = format!(
        "a.rf: page 7, member 0, byte {}: not what its checksum says",
        data_at + 7 * 4096
    );
    assert!(said.contains(&line) && said.contains("DAMAGED: "), "{said}");
    assert_eq!(said.lines().count(), 3, "one line each: {said}");

    let model = fs::read(dir.path().join("tiny.gguf")).expect("read");
    let said = refused(dir.path(), &["unpack", "a.rf", "--replace"]);
    assert!(fs::read(dir.path().join("tiny.gguf")).expect("read") == model);
    assert!(
        said.contains("a.rf: page 3") && said.contains("checksum"),
        "{said}"
    );
}

#[test]
fn a_damaged_superblock_is_told_and_repaired_from_the_other() {
    let (dir, facts) = field();
    let path = dir.path().join("a.rf");
    let whole = fs::read(&path).expect("read");
    let bytes = facts["bytes"].as_u64().expect("a number");
    for (at, copy) in [(60, "first"), (bytes - 4000, "last")] {
        flip(&path, at);
        let found = damaged(dir.path(), &["a.rf"]);
        assert_eq!(
            (&found["damages"][0]["page"], &found["damage_count"]),
            (&Value::Null, &1.into())
        );
        let cause = found["damages"][0]["cause"].as_str().expect("text");
        assert!(cause.contains(&format!("the {copy} superblock")), "{cause}");
        let inspected = json(dir.path(), &["inspect", "a.rf"]);
        let health = inspected["files"][0]["damaged"].as_str().expect("text");
        assert!(health.contains(copy), "{health}");

        // It runs all the same, and says so.
        let output = ringfield(dir.path(), &["gguf", "list", "a.rf"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.contains("`ringfield verify --repair a.rf`"),
            "{said}"
        );

        let found = json(dir.path(), &["verify", "--repair", "a.rf"]);
        assert_eq!(
            (&found["whole"], &found["damages"]),
            (&true.into(), &serde_json::json!([]))
        );
        let repaired = found["repaired"][0].as_str().expect("text");
        assert!(repaired.contains(copy), "{repaired}");
        assert!(fs::read(&path).expect("read") == whole);
    }
    flip(&path, 60);
    flip(&path, bytes - 4000);
    let said = refused(dir.path(), &["verify", "--repair", "a.rf"]);
    assert!(
        said.contains("a.rf: not a valid packed field file"),
        "{said}"
    );
}

#[test]
fn a_member_that_is_not_named_is_not_looked_at_and_told() {
    let dir = made::dir();
    made::model(dir.path());
    let pack = [
        "pack",
        "tiny.gguf",
        "--out",
        "a.rf",
        "--out",
        "b.rf",
        "--page-size",
        "4KiB",
    ];
    text(dir.path(), &pack);
    let found = json(dir.path(), &["verify", "b.rf"]);
    assert_eq!(
        (&found["whole"], &found["missing"]),
        (&true.into(), &serde_json::json!([0]))
    );
    assert!(text(dir.path(), &["verify", "b.rf"]).contains("not looked at: member 0"));
    let facts = json(dir.path(), &["inspect", "b.rf"])["files"][0].clone();
    assert_eq!(facts["member"], 1);
    flip(
        &dir.path().join("b.rf"),
        facts["data_at"].as_u64().expect("a number"),
    );
    let found = damaged(dir.path(), &["a.rf", "b.rf"]);
    let damage = &found["damages"][0];
    assert_eq!(
        (&damage["file"], &damage["member"], &damage["page"]),
        (&"b.rf".into(), &1.into(), &1.into())
    );
}

#[test]
fn a_rate_is_kept() {
    let (dir, facts) = field();
    let bytes = facts["bytes"].as_u64().expect("a number");
    // At half of its bytes a second it takes two, but for the last pages.
    let rate = (bytes / 2).to_string();
    let begin = std::time::Instant::now();
    text(dir.path(), &["verify", "a.rf", "--rate", &rate]);
    assert!(begin.elapsed().as_secs_f64() > 1.2, "{:?}", begin.elapsed());
    assert!(refused(dir.path(), &["verify", "a.rf", "--rate", "0"]).contains("at least a byte"));
}
