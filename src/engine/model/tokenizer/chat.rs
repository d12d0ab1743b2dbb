//! Conversations as the models' own templates write them.
//!
//! A template is a program. Instead of running it, the two forms that the supported families use are recognised by what
//! they write; a template of neither form is an error, not a guess.

use super::metadata::{Metadata, excerpt};
use super::vocabulary::{Kind, Vocabulary};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

const TEMPLATE: &str = "tokenizer.chat_template";
const SUPPORTED: &str = "ChatML (<|im_start|>), Gemma (<start_of_turn>)";

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Instructions for the whole conversation: at most one, the first.
    System,
    /// Who asks.
    User,
    /// The model.
    Assistant,
}

/// One turn of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message<'t> {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: &'t str,
}

impl<'t> Message<'t> {
    /// A turn of `role`.
    pub fn new(role: Role, content: &'t str) -> Message<'t> {
        Message { role, content }
    }
}

/// A form of writing conversations.
#[derive(Debug)]
enum Form {
    /// `<|im_start|>user\n…<|im_end|>\n`, with what is said as the system's turn where the host has none.
    ChatMl { system: Option<String> },
    /// `<start_of_turn>user\n…<end_of_turn>\n`.
    Gemma,
    /// None of them: how the template begins, where there is one.
    Unknown(String),
}

/// How a model writes conversations.
#[derive(Debug)]
pub(super) struct Chat {
    form: Form,
    path: PathBuf,
}

impl Chat {
    pub(super) fn read(metadata: &Metadata<'_>, vocabulary: &Vocabulary) -> Result<Chat> {
        let template = metadata.string(TEMPLATE)?;
        let is_control = |piece: &str| {
            let token = vocabulary.find(piece);
            token.and_then(|token| vocabulary.kind(token)) == Some(Kind::Control)
        };
        let form = |begin: &str, end: &str| {
            let written = |piece: &str| template.as_ref().is_none_or(|text| text.contains(piece));
            is_control(begin) && is_control(end) && written(begin)
        };
        let text = template.as_deref().unwrap_or_default();
        // Models that think aloud take their thoughts out of earlier turns.
        let form = if form("<|im_start|>", "<|im_end|>") && !text.contains("<think>") {
            let system = default_system(text);
            Form::ChatMl { system }
        } else if form("<start_of_turn>", "<end_of_turn>") {
            Form::Gemma
        } else {
            Form::Unknown(template.as_deref().map_or("none".into(), excerpt))
        };
        let path = metadata.path().to_path_buf();
        Ok(Chat { form, path })
    }

    /// The conversation, and the beginning of the model's turn.
    pub(super) fn prompt(&self, messages: &[Message<'_>]) -> Result<String> {
        for (number, message) in messages.iter().enumerate() {
            if message.role == Role::System && number > 0 {
                return Err(misplaced(number, "a system message can only be the first"));
            }
        }
        match &self.form {
            Form::ChatMl { system } => Ok(chat_ml(messages, system.as_deref())),
            Form::Gemma => gemma(messages),
            Form::Unknown(template) => Err(unsupported(&self.path, template)),
        }
    }
}

fn unsupported(path: &Path, template: &str) -> Error {
    Error::Unsupported {
        path: path.to_path_buf(),
        key: TEMPLATE,
        found: template.into(),
        supported: SUPPORTED.into(),
    }
}

fn misplaced(number: usize, why: &str) -> Error {
    Error::InvalidOption {
        option: "messages",
        value: format!("a conversation whose turn {} does not fit", number + 1),
        why: why.into(),
    }
}

/// What a ChatML template says as the system's turn where there is none: the literal text between its marks. Templates have
/// line breaks both as they are and escaped.
fn default_system(template: &str) -> Option<String> {
    let mut rest = template;
    while let Some((_, behind)) = rest.split_once("<|im_start|>system") {
        rest = behind;
        let text = behind
            .strip_prefix('\n')
            .or_else(|| behind.strip_prefix("\\n"));
        if let Some((text, _)) = text.and_then(|text| text.split_once("<|im_end|>"))
            && !text.is_empty()
            && !text.contains(['\'', '"', '{', '\\'])
        {
            return Some(text.into());
        }
    }
    None
}

fn chat_ml(messages: &[Message<'_>], default_system: Option<&str>) -> String {
    let mut prompt = String::new();
    let mut turn = |role: &str, content: &str| {
        for part in ["<|im_start|>", role, "\n", content, "<|im_end|>\n"] {
            prompt.push_str(part);
        }
    };
    let begins_with_system = messages
        .first()
        .is_none_or(|first| first.role == Role::System);
    if let Some(system) = default_system
        && !begins_with_system
    {
        turn("system", system);
    }
    for message in messages {
        let role = match message.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        turn(role, message.content);
    }
    prompt.push_str("<|im_start|>assistant\n");
    prompt
}

fn gemma(messages: &[Message<'_>]) -> Result<String> {
    let mut prompt = String::new();
    // These models know no system: it speaks at the beginning of the user's first turn.
    let (system, turns) = match messages.split_first() {
        Some((first, turns)) if first.role == Role::System => (Some(first.content), turns),
        _ => (None, messages),
    };
    for (number, message) in turns.iter().enumerate() {
        if (message.role == Role::User) != number.is_multiple_of(2) {
            let number = number + messages.len() - turns.len();
            return Err(misplaced(
                number,
                "this model's turns are the user's and the assistant's by turns, the user's first",
            ));
        }
        let role = match message.role {
            Role::User => "user",
            _ => "model",
        };
        prompt.push_str("<start_of_turn>");
        prompt.push_str(role);
        prompt.push('\n');
        if let Some(system) = system.filter(|_| number == 0) {
            prompt.push_str(system);
            prompt.push_str("\n\n");
        }
        prompt.push_str(message.content.trim());
        prompt.push_str("<end_of_turn>\n");
    }
    prompt.push_str("<start_of_turn>model\n");
    Ok(prompt)
}
