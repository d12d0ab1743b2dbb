//! Models as llama.cpp runs them.

use llama_cpp_sys_2 as ggml;
use std::ffi::{CString, c_char, c_void};
use std::path::Path;

/// What of llama.cpp's settings makes its logits differ.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub name: &'static str,
    pub flash_attention: bool,
    /// Keys and values of 32 bits, instead of 16.
    pub kv_f32: bool,
    /// Tokens of a pass at most.
    pub batch: u32,
    /// Matrices in the order that the kernels like best.
    pub repacked: bool,
}

/// `-fa off -ctk f32 -ctv f32`.
pub const REFERENCE: Settings = Settings {
    name: "llama.cpp",
    flash_attention: false,
    kv_f32: true,
    batch: 512,
    repacked: true,
};

/// A model with room for one text.
pub struct Llama {
    model: *mut ggml::llama_model,
    context: *mut ggml::llama_context,
    vocabulary: usize,
}

impl Llama {
    /// # Panics
    /// Where llama.cpp refuses the model.
    pub fn open(path: &Path, settings: Settings, tokens: u32, threads: i32) -> Llama {
        unsafe extern "C" fn nothing(_: ggml::ggml_log_level, _: *const c_char, _: *mut c_void) {}
        let path = CString::new(path.as_os_str().as_encoded_bytes()).expect("a path without zeros");
        // SAFETY: llama.cpp's documented way; parameters begin as its defaults, and the path lives through the call.
        unsafe {
            ggml::llama_log_set(Some(nothing), std::ptr::null_mut());
            let mut of_model = ggml::llama_model_default_params();
            of_model.use_extra_bufts = settings.repacked;
            let model = ggml::llama_model_load_from_file(path.as_ptr(), of_model);
            assert!(!model.is_null(), "llama.cpp does not open the model");
            let mut of_context = ggml::llama_context_default_params();
            let kv = match settings.kv_f32 {
                true => ggml::GGML_TYPE_F32,
                false => ggml::GGML_TYPE_F16,
            };
            (of_context.type_k, of_context.type_v) = (kv, kv);
            of_context.flash_attn_type = match settings.flash_attention {
                true => ggml::LLAMA_FLASH_ATTN_TYPE_ENABLED,
                false => ggml::LLAMA_FLASH_ATTN_TYPE_DISABLED,
            };
            of_context.n_ctx = tokens;
            of_context.n_batch = tokens;
            of_context.n_ubatch = settings.batch.min(tokens);
            (of_context.n_threads, of_context.n_threads_batch) = (threads, threads);
            let context = ggml::llama_init_from_model(model, of_context);
            assert!(!context.is_null(), "llama.cpp makes no context");
            let vocab = ggml::llama_model_get_vocab(model);
            Llama {
                model,
                context,
                vocabulary: ggml::llama_vocab_n_tokens(vocab) as usize,
            }
        }
    }

    /// Forgets the text.
    pub fn clear(&mut self) {
        // SAFETY: the context lives as long as `self`.
        unsafe { ggml::llama_memory_clear(ggml::llama_get_memory(self.context), true) };
    }

    /// Goes on with `tokens`, the first of which has position `at`; `each` gets the logits after each token from number
    /// `from` on.
    ///
    /// # Panics
    /// Where llama.cpp fails.
    pub fn feed(&mut self, at: usize, tokens: &[u32], from: usize, mut each: impl FnMut(&[f32])) {
        let count = tokens.len();
        // SAFETY: the batch has room for `count` tokens of one sequence each, all of which are filled in; it is freed
        // once. Logits are those of a token for which they were asked, and stay until the next decode.
        unsafe {
            let mut batch = ggml::llama_batch_init(count as i32, 0, 1);
            batch.n_tokens = count as i32;
            for (i, &token) in tokens.iter().enumerate() {
                *batch.token.add(i) = token as i32;
                *batch.pos.add(i) = (at + i) as i32;
                *batch.n_seq_id.add(i) = 1;
                *(*batch.seq_id.add(i)) = 0;
                *batch.logits.add(i) = i8::from(i >= from);
            }
            assert_eq!(ggml::llama_decode(self.context, batch), 0, "a decode");
            for i in from..count {
                let logits = ggml::llama_get_logits_ith(self.context, i as i32);
                each(std::slice::from_raw_parts(logits, self.vocabulary));
            }
            ggml::llama_batch_free(batch);
        }
    }
}

impl Drop for Llama {
    fn drop(&mut self) {
        // SAFETY: both are this value's own; the context goes before its model.
        unsafe {
            ggml::llama_free(self.context);
            ggml::llama_free_model(self.model);
        }
    }
}
