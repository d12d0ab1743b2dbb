//! `ringfield inspect`.

use crate::{json, made, refused, text};

#[test]
fn superblocks_files_and_tensors_are_told() {
    let dir = made::dir();
    let at = dir.path();
    let model = std::fs::metadata(made::experts(at)).expect("there").len();
    text(
        at,
        &[
            "pack",
            "experts.gguf",
            "--out",
            "a.rf",
            "--page-size",
            "16KiB",
        ],
    );
    let found = json(at, &["inspect", "a.rf", "--tensors"]);
    assert_eq!(
        (
            &found["members"],
            &found["generation"],
            &found["page_bytes"]
        ),
        (&1.into(), &1.into(), &16384.into())
    );
    assert_eq!(found["array"].as_str().map(str::len), Some(32));
    assert!(
        found["creator"]
            .as_str()
            .is_some_and(|creator| creator.starts_with("ringfield "))
    );
    let file = &found["files"][0];
    let number = |key: &str| file[key].as_u64().expect("a number");
    assert_eq!(
        number("bytes"),
        std::fs::metadata(at.join("a.rf")).expect("there").len()
    );
    assert_eq!(number("data_at"), 16384 * (1 + number("directory_pages")));
    assert_eq!(
        number("bytes"),
        number("data_at") + 16384 * number("pages") + 4096
    );
    assert_eq!(
        (&file["path"], &file["damaged"]),
        (&"a.rf".into(), &serde_json::Value::Null)
    );
    assert_eq!(
        found["packed"],
        serde_json::json!([{"name": "experts.gguf", "format": "GGUF", "bytes": model, "tensors": 5}])
    );
    let tensors = found["tensors"].as_array().expect("an array");
    assert_eq!(tensors.len(), 5);
    let up = tensors
        .iter()
        .find(|t| t["name"] == "blk.1.ffn_up_exps.weight")
        .expect("there");
    for (key, value) in [
        ("role", serde_json::json!("expert up")),
        ("layer", 1.into()),
        ("experts", made::EXPERTS.into()),
        ("type", "F32".into()),
        ("shape", serde_json::json!([64, 20, 6])),
        ("bytes", (made::EXPERT_BYTES as u64 * made::EXPERTS).into()),
        ("file", 0.into()),
    ] {
        assert_eq!(up[key], value, "{key}");
    }
    assert!(json(at, &["inspect", "a.rf"]).get("tensors").is_none());

    let said = text(at, &["inspect", "a.rf", "--tensors"]);
    for expected in [
        "both whole",
        "0 of 1",
        "experts.gguf",
        "expert gate",
        "64 × 20 × 6",
        "pages of 16 KiB",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(!text(at, &["inspect", "a.rf"]).contains("expert gate"));
}

#[test]
fn of_some_members_only_their_superblocks_are_told() {
    let dir = made::dir();
    let at = dir.path();
    made::model(at);
    text(at, &["pack", "tiny.gguf", "--out", "a.rf", "--out", "b.rf"]);
    text(at, &["pack", "tiny.gguf", "--out", "other.rf"]);
    let found = json(at, &["inspect", "b.rf"]);
    assert_eq!(
        (&found["missing"], &found["packed"]),
        (&serde_json::json!([0]), &serde_json::json!([]))
    );
    assert!(text(at, &["inspect", "b.rf"]).contains("these were not named: 0"));
    let found = json(at, &["inspect", "b.rf", "a.rf"]);
    assert_eq!(
        (&found["missing"], &found["packed"][0]["tensors"]),
        (&serde_json::json!([]), &20.into())
    );
    assert!(refused(at, &["inspect", "a.rf", "other.rf"]).contains("not of one array"));
    assert!(
        refused(at, &["inspect", "tiny.gguf"]).contains("tiny.gguf: not a valid packed field file")
    );
}
