//! Models made for tests that have nothing but a tokenizer.

use crate::writer::{ARRAY, BOOL, Dir, GgufFile, STRING, U32, array, engine, string};
use ringfield::{Engine, Gguf, Result, Tokenizer};

pub(crate) const I32: u32 = 5;
pub(crate) const F32: u32 = 6;

fn strings<S: AsRef<str>>(texts: &[S]) -> Vec<u8> {
    let bytes: Vec<u8> = texts
        .iter()
        .flat_map(|text| string(text.as_ref().as_bytes()))
        .collect();
    array(STRING, texts.len() as u64, &bytes)
}

pub(crate) fn numbers(element: u32, numbers: &[[u8; 4]]) -> Vec<u8> {
    array(element, numbers.len() as u64, numbers.as_flattened())
}

/// A file without tensors, and the keys of a tokenizer, each of which a test may spoil.
#[derive(Clone)]
pub(crate) struct Model(pub(crate) GgufFile);

impl Model {
    pub(crate) fn new(kind: &str, tokens: &[impl AsRef<str>]) -> Model {
        let mut file = GgufFile::new();
        file.tensors.clear();
        file.data.clear();
        file.keys.retain(|(key, ..)| key.starts_with(b"general."));
        Model(file)
            .with("model", STRING, string(kind.as_bytes()))
            .with("tokens", ARRAY, strings(tokens))
    }

    /// Sets `tokenizer.ggml.KEY`.
    pub(crate) fn with(self, key: &str, kind: u32, value: Vec<u8>) -> Model {
        self.with_key(&format!("tokenizer.ggml.{key}"), kind, value)
    }

    pub(crate) fn with_key(mut self, key: &str, kind: u32, value: Vec<u8>) -> Model {
        self.0.keys.retain(|(found, ..)| found != key.as_bytes());
        self.0.keys.push((key.as_bytes().to_vec(), kind, value));
        self
    }

    pub(crate) fn without(mut self, key: &str) -> Model {
        let key = format!("tokenizer.ggml.{key}");
        self.0.keys.retain(|(found, ..)| found != key.as_bytes());
        self
    }

    pub(crate) fn string(self, key: &str, text: &str) -> Model {
        self.with(key, STRING, string(text.as_bytes()))
    }

    pub(crate) fn number(self, key: &str, number: u32) -> Model {
        self.with(key, U32, number.to_le_bytes().to_vec())
    }

    pub(crate) fn flag(self, key: &str, flag: bool) -> Model {
        self.with(key, BOOL, vec![u8::from(flag)])
    }

    pub(crate) fn merges(self, merges: &[impl AsRef<str>]) -> Model {
        self.with("merges", ARRAY, strings(merges))
    }

    pub(crate) fn scores(self, scores: &[f32]) -> Model {
        let scores: Vec<_> = scores.iter().map(|score| score.to_le_bytes()).collect();
        self.with("scores", ARRAY, numbers(F32, &scores))
    }

    pub(crate) fn kinds(self, kinds: &[i32]) -> Model {
        let kinds: Vec<_> = kinds.iter().map(|kind| kind.to_le_bytes()).collect();
        self.with("token_type", ARRAY, numbers(I32, &kinds))
    }

    pub(crate) fn template(self, template: &str) -> Model {
        self.with_key(
            "tokenizer.chat_template",
            STRING,
            string(template.as_bytes()),
        )
    }

    pub(crate) fn open(&self) -> Result<Tokenizer> {
        open(&engine(), &self.0.bytes())
    }
}

/// Opens a file of `bytes`.
pub(crate) fn open(engine: &Engine, bytes: &[u8]) -> Result<Tokenizer> {
    let dir = Dir::new();
    let path = dir.write("made.gguf", bytes);
    Tokenizer::open(&Gguf::open(engine, path)?)
}

/// The letters of byte-level vocabularies, in the order of the bytes.
pub(crate) fn byte_letters() -> Vec<String> {
    let mut others = 0x100..;
    let mut letter = |byte: u32| match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => byte,
        _ => others.next().unwrap(),
    };
    (0..256)
        .map(|byte| char::from_u32(letter(byte)).unwrap().to_string())
        .collect()
}

/// What [`small_bytes`] joins, the first one first.
pub(crate) const MERGES: [&str; 8] = [
    "h e", "l l", "he ll", "hell o", "Ġ hello", "Ġ w", "o r", "1 2",
];

/// The 256 bytes, then [`MERGES`] from 256 on, then three special tokens.
pub(crate) fn small_bytes() -> Model {
    let mut tokens = byte_letters();
    tokens.extend(MERGES.map(|merge| merge.replace(' ', "")));
    tokens.extend(["<|im_start|>", "<|im_end|>", "  "].map(String::from));
    let mut kinds = vec![1; tokens.len()];
    kinds[264..].copy_from_slice(&[3, 3, 4]);
    Model::new("gpt2", &tokens)
        .string("pre", "gpt-2")
        .merges(&MERGES)
        .kinds(&kinds)
}

/// `<unk> <s> </s>`, the 256 bytes, and from 259 on a few pieces.
pub(crate) fn small_pieces() -> Model {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).into();
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(["▁", "a", "b", "ab", "▁a", "ba", "▁▁", "aa", "<tag>"].map(String::from));
    let mut kinds = vec![6; 259];
    kinds[..3].copy_from_slice(&[2, 3, 3]);
    kinds.extend([1, 1, 1, 1, 1, 1, 1, 1, 4]);
    let mut scores = vec![0.0; 259];
    scores.extend([-9.0, -9.0, -9.0, -1.0, -2.0, -1.0, -3.0, -4.0, 0.0]);
    Model::new("llama", &tokens).kinds(&kinds).scores(&scores)
}
