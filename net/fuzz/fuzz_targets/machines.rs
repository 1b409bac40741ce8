#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| twolane::fuzzing::machines(data));
