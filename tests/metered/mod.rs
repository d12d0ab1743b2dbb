//! Counting what a test has of memory: only its own thread's, as tests run side by side.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, with the bytes that this thread has and the most it had.
struct Metered;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn note(bytes: isize) {
    // Where a thread ends its meter is gone already.
    let _ = NOW.try_with(|now| {
        now.set(now.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now.get())));
    });
}

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Metered {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Both are there while the bytes are moved.
        note(new_size as isize);
        // SAFETY: as above.
        let moved = unsafe { System.realloc(ptr, layout, new_size) };
        note(-(layout.size() as isize));
        moved
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        note(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Metered = Metered;

/// The bytes that are left of what `f` took, and the most that it had at once.
pub(crate) fn bytes_of(f: impl FnOnce()) -> (usize, usize) {
    let before = NOW.get();
    PEAK.set(before);
    f();
    let left = NOW.get() - before;
    (left.max(0) as usize, (PEAK.get() - before) as usize)
}
