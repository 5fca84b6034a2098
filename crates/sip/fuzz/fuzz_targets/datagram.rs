#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sip_fuzz::datagram::run(data));
