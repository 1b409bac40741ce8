//! Drives every behaviour of the two lanes.

/// The allocator. It counts the bytes that are allocated and not freed, for `leaks` and `scale`.
#[global_allocator]
static HEAP: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

fn main() -> std::process::ExitCode {
    twolane_test::stream_tester::main(std::env::args_os().collect())
}
