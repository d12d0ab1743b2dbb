//! The two real models of `scripts/get-models.sh`, where they are there.

use crate::child::skipped;
use crate::content::Random;
use ringfield::{BackendKind, Engine, Gguf, Tensor};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const MODELS: [(&str, usize, &str); 2] = [
    ("SmolLM2-135M-Instruct.Q4_1.gguf", 272, "llama"),
    ("gemma-3-270m-q4_k_m.gguf", 236, "gemma3"),
];
const CHUNK: u64 = 1 << 20;

#[test]
fn every_tensor_of_real_models_reads_right_through_every_backend_in_16_mib() {
    for (name, tensor_count, architecture) in MODELS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("models")
            .join(name);
        let Ok(file) = File::open(&path) else {
            skipped!("models/{name} is not here: scripts/get-models.sh takes it");
        };
        for backend in [BackendKind::Uring, BackendKind::Pread, BackendKind::Mmap] {
            let engine = Engine::builder()
                .dram_budget(16 << 20)
                .backend(backend)
                .build()
                .unwrap();
            let model = Gguf::open(&engine, &path).unwrap();
            assert_eq!(model.tensor_count(), tensor_count);
            let value = model.get("general.architecture").unwrap().unwrap();
            assert_eq!(value.as_str(), Some(architecture));
            let mut tensors: Vec<Tensor> = model.tensors().map(Result::unwrap).collect();
            let mut random = Random(0x5eed);
            let mut plain = vec![0; CHUNK as usize];
            while !tensors.is_empty() {
                let tensor = tensors.swap_remove(random.below(tensors.len() as u64) as usize);
                let range = tensor.range();
                for start in range.clone().step_by(CHUNK as usize) {
                    let end = range.end.min(start + CHUNK);
                    let plain = &mut plain[..(end - start) as usize];
                    file.read_exact_at(plain, start).unwrap();
                    let view = tensor.field().read(start..end).unwrap();
                    assert!(
                        view.chunks().flatten().eq(&*plain),
                        "{} at {start}",
                        tensor.name()
                    );
                }
            }
        }
    }
}
