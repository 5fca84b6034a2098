#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sip_fuzz::local_reply::run(data));
