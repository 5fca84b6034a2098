use super::*;
use proptest::prelude::*;

fn did(number: u64) -> Subject<'static> {
    Subject::Did(Number::from_digits(918_065_978_000 + number).unwrap())
}

fn permit(counts: &Arc<Counts>) -> Permit {
    Permit::new(Arc::clone(counts))
}

#[test]
fn a_seat_is_given_up_to_the_limit_and_comes_back_with_the_permit() {
    let counts = Arc::new(Counts::default());
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut permit = permit(&counts);
        assert_eq!(permit.take(Seat::Did, did(1), Some(2), Time(0)), Ok(true));
        held.push(permit);
    }
    assert_eq!(permit(&counts).take(Seat::Did, did(1), Some(2), Time(0)), Err(NoSeat::Taken));
    assert_eq!(permit(&counts).take(Seat::Did, did(2), Some(0), Time(0)), Err(NoSeat::Taken));
    assert_eq!(counts.used(did(1)), 2);
    held.pop();
    assert_eq!((counts.used(did(1)), counts.is_zero()), (1, false));
    held.clear();
    assert!(counts.is_zero());
}

#[test]
fn a_call_that_goes_to_another_gateway_leaves_the_first() {
    let counts = Arc::new(Counts::default());
    let gateway = |port| Subject::Gateway("tata", SocketAddr::from(([10, 10, 10, 2], port)));
    let mut permit = permit(&counts);
    permit.take(Seat::Gateway, gateway(5060), None, Time(0)).unwrap();
    permit.take(Seat::Gateway, gateway(5062), None, Time(0)).unwrap();
    assert_eq!((counts.used(gateway(5060)), counts.used(gateway(5062))), (0, 1));
}

/// The limit `COUNTED_SUBJECTS`: with no room left a call is let in uncounted, and says so; room comes back with the calls.
#[test]
fn with_no_room_a_call_is_let_in_uncounted() {
    let counts = Arc::new(Counts { parties: Box::default(), subjects: (0..PROBES).map(|_| Cell::default()).collect() });
    let mut held: Vec<Permit> = (0..PROBES).map(|_| permit(&counts)).collect();
    for (permit, number) in held.iter_mut().zip(0..) {
        assert_eq!(permit.take(Seat::Did, did(number), None, Time(0)), Ok(true));
    }
    let mut late = permit(&counts);
    assert_eq!(late.take(Seat::Did, did(99), Some(1), Time(0)), Ok(false));
    assert_eq!(late.take(Seat::Trunk, Subject::Trunk("tata"), Some(1), Time(0)), Ok(false));
    drop(held);
    assert_eq!(late.take(Seat::Did, did(99), Some(1), Time(0)), Ok(true));
    assert_eq!(counts.used(did(99)), 1);
}

/// A cell with a bucket that is not full is nobody else's: else a flood would begin anew with each stranger's call.
#[test]
fn a_rate_is_remembered_while_it_matters() {
    let counts = Arc::new(Counts::default());
    let calls = |now| {
        let mut permit = permit(&counts);
        permit.take(Seat::Did, did(1), None, now).unwrap();
        permit.take_rate(Seat::Did, Some(2), now)
    };
    let taken = [0, 0, 0, 499_999, 500_000].map(|at| calls(Time(at)));
    assert_eq!(taken, [true, true, false, false, true]);
}

/// Several workers count in one table: nothing is lost, and no limit is passed.
#[test]
fn workers_count_together() {
    let counts = Arc::new(Counts::default());
    let most = 5;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..2_000 {
                    let mut permit = permit(&counts);
                    let _ = permit.take(Seat::Did, did(round % 3), Some(most), Time(round));
                    let _ = permit.take(Seat::Trunk, Subject::Trunk("tata"), Some(3), Time(round));
                    assert!(counts.used(Subject::Trunk("tata")) <= 3);
                }
            });
        }
    });
    assert!(counts.is_zero());
}

proptest! {
    /// After any history the counts are the permits that live, and zero when none does.
    #[test]
    fn i9_counts_are_the_permits_that_live(steps in proptest::collection::vec((0_u64..6, any::<bool>(), 0_usize..8), 0..200)) {
        let counts = Arc::new(Counts::default());
        let mut live: Vec<(u64, Permit)> = Vec::new();
        for (number, begins, at) in steps {
            if begins {
                let mut permit = permit(&counts);
                let standing = live.iter().filter(|(other, _)| *other == number).count();
                let taken = permit.take(Seat::Did, did(number), Some(3), Time(0));
                prop_assert_eq!(taken.is_ok(), standing < 3);
                if taken.is_ok() {
                    live.push((number, permit));
                }
            } else if at < live.len() {
                live.swap_remove(at);
            }
            for number in 0..6 {
                let standing = live.iter().filter(|(other, _)| *other == number).count();
                prop_assert_eq!(counts.used(did(number)) as usize, standing);
            }
        }
        live.clear();
        prop_assert!(counts.is_zero());
    }
}
