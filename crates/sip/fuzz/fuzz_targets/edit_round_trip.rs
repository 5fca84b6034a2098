#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sip_fuzz::edit_round_trip::run(data));
