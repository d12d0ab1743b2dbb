//! Conversations are written as the models' own templates write them.

use crate::models::{GEMMA, SMOLLM2, model_or_skip, tokenizer};
use crate::vocabulary::{Model, small_bytes};
use ringfield::Role::{Assistant, System, User};
use ringfield::{EncodeOptions, Error, Message, Role};

fn messages<'t>(turns: &[(Role, &'t str)]) -> Vec<Message<'t>> {
    turns
        .iter()
        .map(|&(role, content)| Message::new(role, content))
        .collect()
}

/// What Jinja makes of this model's template, with `add_generation_prompt`.
#[test]
fn smollm2_is_written_as_its_template_writes_it() {
    let path = model_or_skip!(SMOLLM2);
    let tokenizer = tokenizer(&path);
    let prompt = tokenizer
        .chat_prompt(&messages(&[(User, "Hi there")]))
        .unwrap();
    assert_eq!(
        prompt,
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
         <|im_start|>user\nHi there<|im_end|>\n<|im_start|>assistant\n"
    );
    let turns = messages(&[
        (System, " Be brief. "),
        (User, "Hi"),
        (Assistant, "Yes?\n"),
        (User, ""),
    ]);
    assert_eq!(
        tokenizer.chat_prompt(&turns).unwrap(),
        "<|im_start|>system\n Be brief. <|im_end|>\n<|im_start|>user\nHi<|im_end|>\n\
         <|im_start|>assistant\nYes?\n<|im_end|>\n<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n"
    );
    assert_eq!(
        tokenizer.chat_prompt(&[]).unwrap(),
        "<|im_start|>assistant\n"
    );

    let options = EncodeOptions::new().add_special(true).parse_special(true);
    let tokens = tokenizer.encode(&prompt, options).unwrap();
    assert_eq!(tokens[..3], [1, 9690, 198]);
    assert_eq!(tokens.iter().filter(|&&token| token == 2).count(), 2);
}

#[test]
fn gemma_is_written_in_turns_of_user_and_model() {
    let path = model_or_skip!(GEMMA);
    let tokenizer = tokenizer(&path);
    let turns = messages(&[
        (System, "Be brief."),
        (User, " Hi\n"),
        (Assistant, " Yes? "),
        (User, "So?"),
    ]);
    assert_eq!(
        tokenizer.chat_prompt(&turns).unwrap(),
        "<start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nYes?<end_of_turn>\n\
         <start_of_turn>user\nSo?<end_of_turn>\n<start_of_turn>model\n"
    );
    let options = EncodeOptions::new().add_special(true).parse_special(true);
    let prompt = tokenizer.chat_prompt(&turns[..2]).unwrap();
    let tokens = tokenizer.encode(&prompt, options).unwrap();
    assert_eq!(
        (tokens[0], tokens[1]),
        (2, 105),
        "BOS, then the beginning of a turn"
    );
    for wrong in [&[(Assistant, "Hi")][..], &[(User, "a"), (User, "b")]] {
        let e = tokenizer.chat_prompt(&messages(wrong)).unwrap_err();
        assert!(
            matches!(
                e,
                Error::InvalidOption {
                    option: "messages",
                    ..
                }
            ),
            "{e}"
        );
    }
}

#[test]
fn a_system_message_that_is_not_the_first_is_refused() {
    let tokenizer = small_bytes().open().unwrap();
    let e = tokenizer
        .chat_prompt(&messages(&[(User, "a"), (System, "b")]))
        .unwrap_err();
    assert!(e.to_string().contains("turn 2"), "{e}");
}

fn prompt(model: Model) -> Result<String, Error> {
    model.open().unwrap().chat_prompt(&messages(&[(User, "a")]))
}

#[test]
fn chat_ml_is_known_with_and_without_a_template() {
    let bare = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(
        prompt(small_bytes()).unwrap(),
        bare,
        "its special tokens say so"
    );
    let each =
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n'}}{% endfor %}";
    assert_eq!(prompt(small_bytes().template(each)).unwrap(), bare);
    // Line breaks are escaped in some files.
    let system = format!("{{{{ '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}}}{each}");
    let expected = format!("<|im_start|>system\nBe kind.<|im_end|>\n{bare}");
    assert_eq!(prompt(small_bytes().template(&system)).unwrap(), expected);
    // A system's turn that is put together is nothing to be repeated.
    let system = format!("{{{{ '<|im_start|>system\\n' + system + '<|im_end|>\\n' }}}}{each}");
    assert_eq!(prompt(small_bytes().template(&system)).unwrap(), bare);
}

#[test]
fn a_template_that_is_not_known_is_an_error_that_names_it() {
    let llama2 = "{% for message in messages %}[INST] {{ message['content'] }} [/INST]{% endfor %}";
    let thinking = "{{ '<|im_start|>' }}{% if '</think>' in content %}<think>{% endif %}";
    for template in [llama2, thinking] {
        let e = prompt(small_bytes().template(template)).unwrap_err();
        let Error::Unsupported {
            path,
            key,
            found,
            supported,
        } = &e
        else {
            panic!("{e}");
        };
        assert!(path.ends_with("made.gguf"));
        assert_eq!(*key, "tokenizer.chat_template");
        assert!(template.starts_with(found.trim_end_matches('…')), "{found}");
        assert!(supported.contains("ChatML") && supported.contains("Gemma"));
    }
    let plain = small_bytes().kinds(&[1; 267]).without("pre");
    // Named as what ends a turn, `<|im_end|>` is a control token whatever the file says; `<|im_start|>` is not.
    let e = prompt(plain).unwrap_err();
    assert!(
        matches!(&e, Error::Unsupported { found, .. } if found == "none"),
        "{e}"
    );
}
