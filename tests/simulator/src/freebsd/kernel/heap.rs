// SPDX-License-Identifier: BSD-2-Clause
//! malloc(9) and uma(9). Every block is recorded, to find leaks, wrong frees,
//! and writes beyond a block's end or after its free.

use super::place::Place;
use super::thread;
use super::violation::violation;
use super::Kernel;
use std::alloc::Layout;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use sys_bindings as sys;

/// The bytes that fill fresh and freed memory. As a pointer they are no valid
/// address.
const FRESH: u8 = 0xa5;
const FREED: u8 = 0xde;
/// Bytes behind each block that must not change.
const FENCE: usize = 16;
const FENCE_BYTE: u8 = 0xfd;
/// Bytes of freed memory that are kept, to find writes after free.
const QUARANTINE: usize = 1 << 20;

struct Block {
    size: usize,
    /// The malloc type or the zone.
    kind: &'static str,
    place: Place,
}

impl Block {
    fn layout(&self) -> Layout {
        Layout::from_size_align(self.size + FENCE, 64).expect("the size of a block")
    }
}

/// The memory of a kernel.
#[derive(Default)]
pub struct Heap {
    blocks: RefCell<HashMap<usize, Block>>,
    freed: RefCell<VecDeque<(usize, Block)>>,
    freed_bytes: Cell<usize>,
    /// How many calls so far could have failed.
    chances: Cell<u64>,
    fail_at: Cell<Option<u64>>,
    fail_rate: Cell<f64>,
}

impl Heap {
    /// Allocates memory, recorded as `kind`. Its address is not 0.
    pub fn allocate(&self, size: usize, kind: &'static str, zero: bool) -> usize {
        let block = Block { size, kind, place: Place::here() };
        // SAFETY: the layout is not empty, and the block is filled as long as
        // it is.
        let address = unsafe {
            let memory = std::alloc::alloc(block.layout());
            assert!(!memory.is_null(), "out of memory");
            memory.write_bytes(if zero { 0 } else { FRESH }, size);
            memory.add(size).write_bytes(FENCE_BYTE, FENCE);
            memory as usize
        };
        self.blocks.borrow_mut().insert(address, block);
        address
    }

    /// Frees a block, which must be of that kind.
    pub fn free(&self, address: usize, kind: &str) {
        let Some(block) = self.blocks.borrow_mut().remove(&address) else {
            let freed = self.freed.borrow().iter().any(|(at, _)| *at == address);
            violation(format!(
                "frees {address:#x} ({kind}), {}",
                if freed { "twice" } else { "which was not allocated" }
            ))
        };
        if block.kind != kind {
            violation(format!("frees memory of {} from {} as {kind}", block.kind, block.place));
        }
        self.check_fence(address, &block);
        if let Some(thread) = thread::try_current() {
            thread.kernel.locks.check_freed(address, block.size);
            thread.kernel.callouts.check_freed(address, block.size);
            thread.kernel.tasks.check_freed(address, block.size);
        }
        // SAFETY: the block was allocated with that size, and is not used any
        // more.
        unsafe { (address as *mut u8).write_bytes(FREED, block.size) };
        self.freed_bytes.set(self.freed_bytes.get() + block.size);
        self.freed.borrow_mut().push_back((address, block));
        while self.freed_bytes.get() > QUARANTINE {
            self.release_oldest();
        }
    }

    fn check_fence(&self, address: usize, block: &Block) {
        // SAFETY: the fence lies behind the block, in its layout.
        let fence = unsafe { std::slice::from_raw_parts((address + block.size) as *const u8, FENCE) };
        if fence.iter().any(|byte| *byte != FENCE_BYTE) {
            violation(format!("writes beyond {} bytes of {} from {}", block.size, block.kind, block.place));
        }
    }

    fn release_oldest(&self) {
        let Some((address, block)) = self.freed.borrow_mut().pop_front() else { return };
        self.freed_bytes.set(self.freed_bytes.get() - block.size);
        // SAFETY: freed blocks stay allocated until here.
        let bytes = unsafe { std::slice::from_raw_parts(address as *const u8, block.size) };
        // Without a branch for each byte: a simulation checks many megabytes.
        if bytes.iter().fold(0, |difference, byte| difference | (byte ^ FREED)) != 0 {
            violation(format!("writes to memory of {} from {} after it is freed", block.kind, block.place));
        }
        // SAFETY: allocated with this layout, and given back once.
        unsafe { std::alloc::dealloc(address as *mut u8, block.layout()) };
    }

    /// Reports a violation if freed memory that is still kept was written to.
    pub fn check_freed(&self) {
        while !self.freed.borrow().is_empty() {
            self.release_oldest();
        }
    }

    /// Whether there is memory of that kind at the address.
    pub fn is(&self, address: usize, kind: &str) -> bool {
        self.blocks.borrow().get(&address).is_some_and(|block| block.kind == kind)
    }

    /// The allocated blocks of some kinds, counted by the places that allocated them.
    pub fn leaks(&self, kernel: &Kernel, kinds: &[&str]) -> Vec<String> {
        let blocks = self.blocks.borrow();
        let mut places: HashMap<String, usize> = HashMap::new();
        for block in blocks.values().filter(|block| kinds.contains(&block.kind)) {
            *places.entry(format!("{} from {}", block.kind, block.place.name(kernel))).or_default() += 1;
        }
        let mut leaks: Vec<_> =
            places.into_iter().map(|(place, count)| format!("{count} of {place}")).collect();
        leaks.sort();
        leaks
    }

    /// Number of blocks of a kind.
    pub fn count(&self, kind: &str) -> usize {
        self.blocks.borrow().values().filter(|block| block.kind == kind).count()
    }

    /// Whether a call that can fail must fail this time.
    pub fn fails(&self) -> bool {
        if thread::current().reliable.get() {
            return false;
        }
        let chance = self.chances.get() + 1;
        self.chances.set(chance);
        if self.fail_at.get() == Some(chance) {
            return true;
        }
        let rate = self.fail_rate.get();
        rate > 0.0 && thread::current().kernel.world().random(1 << 20) < (rate * (1u64 << 20) as f64) as u64
    }

    /// How many calls so far could have failed.
    pub fn chances(&self) -> u64 {
        self.chances.get()
    }

    /// Makes the n-th call from now on that can fail do so. `None` cancels that.
    pub fn fail_once(&self, n: Option<u64>) {
        self.fail_at.set(n.map(|n| self.chances.get() + n));
    }

    /// Releases all memory, which nothing may use any more.
    pub fn release_all(&self) {
        let freed = std::mem::take(&mut *self.freed.borrow_mut());
        for (address, block) in self.blocks.borrow_mut().drain().chain(freed) {
            // SAFETY: every block was allocated with its layout, and leaves
            // the tables once.
            unsafe { std::alloc::dealloc(address as *mut u8, block.layout()) };
        }
    }

    /// Makes each call that can fail do so with this probability.
    pub fn fail_sometimes(&self, rate: f64) {
        self.fail_rate.set(rate);
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        self.release_all();
    }
}

/// Whether a flag word has `M_ZERO`.
pub fn wants_zero(flags: i32) -> bool {
    flags as u32 & sys::M_ZERO != 0
}

/// Whether a flag word lacks `M_WAITOK`: the call may fail.
pub fn may_fail(flags: i32) -> bool {
    flags as u32 & sys::M_WAITOK == 0
}
