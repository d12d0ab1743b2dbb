//! A model that goes on with a text.

use std::io;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ringfield::{
    Arithmetic, Cancel, EncodeOptions, Engine, Finish, KvFormat, Message, Model, ModelOptions,
    Role, Sampling, SessionOptions, Tokenizer,
};

use super::EngineContext;
use super::source::Source;
use crate::args::{self, ModelArgs, RunArgs};
use crate::error::{Context, Error, Result};
use crate::interrupt;
use crate::os;
use crate::run::{Generated, Plan, percentile};

/// Reads in flight: enough for the throughput of any device at the size of a segment.
const STREAM_DEPTH: u32 = 16;
/// How often somebody looks whether to stop.
const LOOK: Duration = Duration::from_millis(20);

/// Opens the model under the budget that was asked for, or one that suits it.
pub(super) fn open(args: &ModelArgs) -> Result<(Model, u64)> {
    let source = Source::of(&args.files)?;
    let page_bytes = source.page_bytes(args.page_size)?;
    let dram = match args.dram {
        Some(size) => size.0,
        None => suitable(&source, page_bytes)?,
    };
    let engine = Engine::builder()
        .dram_budget(dram)
        .page_size(page_bytes)
        // Weights are a stream: what counts is throughput, not how long one read takes.
        .queue_depth(STREAM_DEPTH)
        .backend(super::kind(args.backend))
        .build()
        .engine("the engine cannot be built")?;
    let mut options = ModelOptions::new().arithmetic(match args.arithmetic {
        args::Arithmetic::Exact => Arithmetic::Exact,
        args::Arithmetic::EightBit => Arithmetic::EightBit,
    });
    if let Some(threads) = args.threads {
        options = options.threads(threads);
    }
    let model = Model::of(source.gguf(&engine)?, options).engine("cannot open the model")?;
    Ok((model, dram))
}

/// All of the model and a little more, at most half of the memory that is free.
fn suitable(source: &Source, page_bytes: u64) -> Result<u64> {
    let engine = source.engine_for_headers()?;
    let model = source.gguf(&engine)?;
    let fields = model.fields().map(|field| field.len());
    let bytes: u64 = match source.is_packed() {
        // All files of the model are in one field.
        true => fields.max().unwrap_or(0),
        false => fields.sum(),
    };
    let beside = page_bytes.saturating_mul(16).saturating_add(8 << 20);
    let all = (bytes + bytes / 32).saturating_add(beside);
    Ok(all.min(os::free_memory_bytes() / 2))
}

/// Runs the model; `each` gets every token with the text that is complete with it.
///
/// # Errors
/// A budget that is too small, a model that cannot be read, output that cannot be written.
pub(crate) fn generate(
    args: &RunArgs,
    prompt: &str,
    each: &mut dyn FnMut(u32, &str) -> io::Result<()>,
) -> Result<Generated> {
    let watch = Watch::begin();
    let (model, dram) = open(&args.model)?;
    let tokenizer = Tokenizer::open(model.gguf()).engine("cannot read the tokenizer")?;
    let options = EncodeOptions::new().add_special(true);
    let prompt = match args.chat {
        true => {
            let message = [Message::new(Role::User, prompt)];
            let text = tokenizer.chat_prompt(&message);
            let text = text.engine("cannot make a prompt of the message")?;
            tokenizer.encode(&text, options.parse_special(true))
        }
        false => tokenizer.encode(prompt, options),
    };
    let mut prompt = prompt.engine("cannot encode the prompt")?;
    if prompt.is_empty() {
        // A model goes on from somewhere: from the beginning of a text.
        prompt.extend(tokenizer.bos().or(tokenizer.eos()));
    }
    let mut options = SessionOptions::new().kv_budget(args.kv.0);
    if args.kv_f32 {
        options = options.kv_format(KvFormat::F32);
    }
    if let Some(context) = args.ctx {
        options = options.context(context);
    }
    let read_bytes = || model.engine().stats().read_bytes;
    let opened = read_bytes();
    if args.warm_up {
        let mut session = model.session(options).engine("cannot begin the text")?;
        watch.session(session.cancel_handle());
        match session.feed(&prompt[..prompt.len().min(1)]) {
            Err(ringfield::Error::Cancelled) => return Err(Error::Interrupted),
            fed => fed.engine("cannot run the first token")?,
        }
    }
    let mut session = model.session(options).engine("cannot begin the text")?;
    watch.session(session.cancel_handle());
    // An interrupt that was seen before it could reach this session.
    interrupt::check()?;
    let (warm, read_for_it) = (model.stats(), read_bytes() - opened);

    let mut done = Generated {
        prompt_tokens: prompt.len(),
        dram_bytes: dram,
        kv_bytes: session.kv_bytes(),
        threads: model.plan().threads,
        isa: model.kernels().isa().name(),
        backend: super::backend(&super::items(model.engine())),
        ..Generated::default()
    };
    let started = Instant::now();
    match session.feed(&prompt) {
        Err(ringfield::Error::Cancelled) => done.finish = "interrupted",
        fed => fed.engine("cannot run the prompt")?,
    }
    done.prompt_tok_per_s = session.tokens().len() as f64 / started.elapsed().as_secs_f64();
    if done.finish.is_empty() {
        let sampling = Sampling::new()
            .temperature(args.temp)
            .top_k(args.top_k)
            .top_p(args.top_p)
            .min_p(args.min_p)
            .repeat_penalty(args.repeat_penalty, 64)
            .seed(args.seed);
        answer(
            args,
            &tokenizer,
            &model,
            &mut session,
            sampling,
            &mut done,
            each,
        )?;
    }
    let mut stats = model.stats();
    stats.weight_bytes -= warm.weight_bytes;
    stats.streamed_bytes -= warm.streamed_bytes;
    done.hit_share = stats.hit_share();
    done.bytes_read = read_bytes() - read_for_it;
    Ok(done)
}

fn answer(
    args: &RunArgs,
    tokenizer: &Tokenizer,
    model: &Model,
    session: &mut ringfield::Session,
    sampling: Sampling,
    done: &mut Generated,
    each: &mut dyn FnMut(u32, &str) -> io::Result<()>,
) -> Result<()> {
    let before = model.stats();
    let mut decoder = tokenizer.decoder();
    let mut times = Vec::new();
    let mut generation = session.generate(sampling, args.tokens);
    let started = Instant::now();
    let mut last = started;
    for token in generation.by_ref() {
        let token = token.engine("cannot go on with the text")?;
        let now = Instant::now();
        times.push(now - last);
        last = now;
        if tokenizer.is_end_of_generation(token) {
            done.finish = "end";
            break;
        }
        let text = decoder.push(token).engine("cannot decode a token")?;
        done.tokens.push(token);
        done.text.push_str(text);
        each(token, text).doing("cannot write the text")?;
    }
    let finish = generation.finish();
    let rest = decoder.finish();
    done.text.push_str(rest);
    if let (false, Some(&token)) = (rest.is_empty(), done.tokens.last()) {
        each(token, rest).doing("cannot write the text")?;
    }
    if done.finish.is_empty() {
        done.finish = match finish {
            Some(Finish::ContextFull) => "context",
            Some(Finish::Cancelled) => "interrupted",
            Some(Finish::NothingToSay) => {
                let what = "the model has nothing to say: no logit is a number";
                return Err(Error::message(what));
            }
            _ => "count",
        };
    }
    let took_s = (last - started).as_secs_f64();
    // The first token needs no pass: the prompt's has said it.
    let passes = times.len().saturating_sub(1);
    if let Some(times) = times.get_mut(1..) {
        times.sort_unstable();
        done.token_p50_ms = percentile(times, 50).as_secs_f64() * 1e3;
        done.token_p99_ms = percentile(times, 99).as_secs_f64() * 1e3;
    }
    if passes > 0 {
        let after = model.stats();
        let threads_s = took_s * done.threads as f64;
        done.tok_per_s = passes as f64 / took_s;
        done.io_wait_share = (after.io_wait - before.io_wait).as_secs_f64() / threads_s;
        done.compute_share = (after.compute - before.compute).as_secs_f64() / threads_s;
    }
    Ok(())
}

/// What somebody who asks to stop ends: the session, also in the middle of a token, or the process while there is none.
pub(super) struct Watch {
    session: Arc<Mutex<Option<Cancel>>>,
}

impl Watch {
    pub(super) fn begin() -> Watch {
        let session = Arc::<Mutex<Option<Cancel>>>::default();
        let watched = session.clone();
        thread::spawn(move || {
            while !interrupt::requested() {
                thread::sleep(LOOK);
            }
            match &*watched.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(cancel) => cancel.cancel(),
                // Nothing was said, nothing is to be put away.
                None => process::exit(Error::Interrupted.report().into()),
            }
        });
        Watch { session }
    }

    pub(super) fn session(&self, cancel: Cancel) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(cancel);
    }
}

/// What of a model would stay in memory, and how fast it would be.
///
/// # Errors
/// A budget that is too small, a model that cannot be read.
pub(crate) fn plan(args: &ModelArgs, limit: Duration) -> Result<Plan> {
    Watch::begin();
    let (model, dram) = open(args)?;
    let tokenizer = Tokenizer::open(model.gguf()).engine("cannot read the tokenizer")?;
    let session = model.session(SessionOptions::new().context(1));
    let kv_bytes_per_token = session.engine("cannot begin a text")?.kv_bytes();
    let predicted = model.estimate(limit).engine("cannot try the model")?;
    let plan = model.plan();
    Ok(Plan {
        dram_bytes: dram,
        resident_bytes: plan.resident_bytes,
        streamed_bytes: plan.streamed_bytes,
        beside_bytes: plan.memory_bytes + tokenizer.memory_bytes(),
        kv_bytes_per_token,
        predicted_tok_per_s: predicted,
        threads: plan.threads,
        backend: super::backend(&super::items(model.engine())),
        isa: model.kernels().isa().name(),
    })
}
