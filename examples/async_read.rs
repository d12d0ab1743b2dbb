//! Reads as futures. They run on any executor: this one has 20 lines; under tokio it is `field.read_async(range).await`.
//!
//! `cargo run --release --example async_read -- [FILE]`

use ringfield::{Engine, Field};
use std::error::Error;
use std::future::Future;
use std::io::Write;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

/// The bytes of four places of the file, all read at the same time.
async fn four_places(field: &Field) -> ringfield::Result<Vec<Vec<u8>>> {
    let quarter = field.len() / 4;
    let mut reads: Vec<_> = (0..4)
        .map(|k| Box::pin(field.read_async(k * quarter..k * quarter + quarter.min(8))))
        .collect();
    let mut places = vec![None; 4];
    // Polls each until all are there. A future that is dropped earlier does no harm: its read ends in the engine's memory.
    std::future::poll_fn(|context| {
        for (place, read) in places.iter_mut().zip(&mut reads) {
            if place.is_none()
                && let Poll::Ready(view) = Pin::new(read).poll(context)
            {
                *place = Some(view.map(|view| view.to_vec()));
            }
        }
        if places.iter().all(Option::is_some) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    places.into_iter().flatten().collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let sample;
    let path = match std::env::args_os().nth(1) {
        Some(path) => PathBuf::from(path),
        None => {
            sample = sample_file(64 << 20)?;
            sample.path().to_path_buf()
        }
    };
    let engine = Engine::builder().dram_budget(16 << 20).build()?;
    let field = engine.open(&path)?;
    for (k, bytes) in block_on(four_places(&field))?.iter().enumerate() {
        println!("quarter {k} begins with {bytes:02x?}");
    }
    println!("\n{}", engine.stats());
    Ok(())
}

/// Wakes the thread that waits in [`block_on`].
struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs one future on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// A file that goes away when it is dropped.
fn sample_file(len: usize) -> std::io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new_in(".")?;
    let block: Vec<u8> = (0..1 << 20).map(|i| (i % 251) as u8).collect();
    for _ in 0..len / block.len() {
        file.write_all(&block)?;
    }
    Ok(file)
}
