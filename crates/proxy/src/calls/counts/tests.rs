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
    let counts = Arc::new(Counts { parties: Box::default(), ..Counts::sized(PROBES) });
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

/// The time of day is told, and may be told anew; what was used goes on over a restart.
#[test]
fn a_budget_goes_by_the_day_that_is_told_and_on_after_a_restart() {
    const DAY_US: u64 = 86_400_000_000;
    let staging = Subject::Environment("staging");
    let call = |counts: &Arc<Counts>, now_us| {
        let mut permit = permit(counts);
        permit.take(Seat::Environment, staging, None, Time(now_us)).unwrap();
        permit.take_budget(Seat::Environment, 2, Time(now_us))
    };
    let spent = |day, calls| Ok(Some(Spent { day, calls }));
    let counts = Arc::new(Counts::default());
    counts.set_zero(20_000 * DAY_US + DAY_US / 2);
    assert_eq!(call(&counts, 0), spent(20_000, 1));
    let next = Arc::new(Counts::default());
    next.set_zero(20_000 * DAY_US + DAY_US / 2);
    next.set_spent(staging, counts.spent(staging));
    assert_eq!(call(&next, 5), spent(20_000, 2));
    assert_eq!(call(&next, DAY_US / 2 - 1), Err(NoSeat::Taken));
    let used_today = [DAY_US / 2 - 1, DAY_US / 2].map(|now_us| next.used_today(staging, Time(now_us)));
    assert_eq!(used_today, [2, 0]);
    assert_eq!(call(&next, DAY_US / 2), spent(20_001, 1), "midnight");
    next.set_zero(20_001 * DAY_US);
    assert_eq!(call(&next, DAY_US), spent(20_002, 1), "the clock was set forward");
    assert_eq!(next.spent(staging), Spent { day: 20_002, calls: 1 });
    assert_eq!(next.spent(Subject::Environment("oss")), Spent::default());
    assert!(next.is_zero());
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

/// Two workers have found two cells free for one subject, because one came free between their looks: one cell stays.
#[test]
fn of_two_cells_for_one_subject_one_stays() {
    let counts = Counts::sized(PROBES);
    let (cells, _, tag) = counts.home(did(1));
    let cell = |step: usize| &cells[step];
    let word = |step| cell(step).word.load(Ordering::Relaxed);
    let asked = |number: u64| tag << COUNT_BITS | ASKED | number;
    assert!(cell(3).claim(0, asked(1), cells));
    assert!(!cell(1).claim(0, asked(2), cells), "another one counts already");
    assert_eq!((word(1), counts.used(did(1))), (0, 1));
    cell(3).word.store(asked(3), Ordering::Relaxed);
    assert_eq!(counts.used(did(1)), 0, "what is asked for counts nothing");
    assert!(counts.is_zero());
    assert!(cell(1).claim(0, asked(4), cells), "another one is asked for as well");
    assert_eq!((word(3), counts.used(did(1))), (0, 1));
    assert!(!cell(3).swap(asked(3), tag << COUNT_BITS | 1), "whoever asked for that one looks again");
}

/// Several workers ask for the cell of one subject while cells come free around it: it has one, so one limit.
#[test]
fn a_subject_has_one_cell_whoever_asks_for_it() {
    let counts = Arc::new(Counts { parties: Box::default(), ..Counts::sized(PROBES) });
    let (live, counted) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (counts, live, counted) = (&counts, &live, &counted);
            scope.spawn(move || {
                for round in 0..20_000 {
                    // Others come and go in the same cells.
                    let mut passing = permit(counts);
                    let other = did(10 + (round * 7 + worker * 3) % 13);
                    assert!(passing.take(Seat::Did, other, None, Time(round)).is_ok());
                    let mut permit = permit(counts);
                    if permit.take(Seat::Did, did(1), Some(1), Time(round)) == Ok(true) {
                        assert_eq!(live.fetch_add(1, Ordering::SeqCst), 0, "two calls at the limit of one");
                        counted.fetch_add(1, Ordering::Relaxed);
                        live.fetch_sub(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert!(counts.is_zero());
    assert!(counted.load(Ordering::Relaxed) > 1_000);
}

proptest! {
    /// Whatever seats calls take, lose and change, and however far an admission comes before it is refused: what is counted
    /// for each subject is what the calls that live hold, never above its limit, and nothing when none lives.
    #[test]
    fn i9_every_seat_is_given_back_once(steps in proptest::collection::vec((0_u64..3, 0_u16..3, 0_u8..4, 0_usize..8), 0..200)) {
        let counts = Arc::new(Counts::default());
        let gateway = |port: u16| Subject::Gateway("tata", SocketAddr::from(([10, 10, 10, 2], 5_060 + port)));
        let names: [&[u8]; 3] = [b"aurora", b"borealis", b"cygnus"];
        let mut live: Vec<(u64, u16, Permit)> = Vec::new();
        for (number, port, what, at) in steps {
            match what {
                // A call comes. Whoever refuses it, its seats before that go back with the permit.
                0 | 1 => {
                    let mut permit = permit(&counts);
                    let seats = [
                        (Seat::Did, did(number), 2),
                        (Seat::Organisation, Subject::Organisation(names[usize::try_from(number).unwrap()]), 3),
                        (Seat::Trunk, Subject::Trunk("tata"), 5),
                        (Seat::Gateway, gateway(port), 2),
                    ];
                    let taken = seats.into_iter().try_for_each(|(seat, subject, most)| {
                        permit.take(seat, subject, Some(most), Time(0)).map(drop)
                    });
                    if taken.is_ok() {
                        live.push((number, port, permit));
                    }
                }
                // One goes to another gateway, if that has room.
                2 if at < live.len() => {
                    let (_, held, permit) = &mut live[at];
                    if permit.take(Seat::Gateway, gateway(port), Some(2), Time(0)).is_ok() {
                        *held = port;
                    }
                }
                _ if at < live.len() => drop(live.swap_remove(at)),
                _ => {}
            }
            let of = |is_it: &dyn Fn(&(u64, u16, Permit)) -> bool| live.iter().filter(|call| is_it(call)).count();
            for number in 0..3 {
                let standing = of(&|call| call.0 == number);
                prop_assert_eq!(counts.used(did(number)) as usize, standing);
                let name = names[usize::try_from(number).unwrap()];
                prop_assert_eq!(counts.used(Subject::Organisation(name)) as usize, standing);
                prop_assert!(standing <= 2);
            }
            for port in 0..3 {
                let standing = of(&|call| call.1 == port);
                prop_assert_eq!(counts.used(gateway(port)) as usize, standing);
            }
            prop_assert_eq!(counts.used(Subject::Trunk("tata")) as usize, live.len());
            prop_assert!(live.len() <= 5);
        }
        live.clear();
        prop_assert!(counts.is_zero());
    }

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
