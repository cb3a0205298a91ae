//! A stream in any batches against the whole log at once.

// A test that cannot go on is one that failed; the numbers in it are small.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::too_many_lines,
    clippy::type_complexity
)]

use proptest::prelude::*;
use sessionizer_core::{Events, sessionize, with_threads};
use sessionizer_live::{Arrival, Error, Id, IdRef, Kind, Session, Sessionizer, Settings, What};

#[derive(Debug, Clone)]
struct Stream {
    /// Visitor, item, time, kept, in the order of arrival.
    events: Vec<(i64, i64, i64, bool)>,
    texts: Vec<String>,
    settings: Settings,
}

impl Stream {
    fn arrivals(&self) -> Vec<Arrival<'_>> {
        let id = |number: i64| match self.texts.get(usize::try_from(number).unwrap_or(usize::MAX)) {
            Some(text) => IdRef::Text(text),
            None => IdRef::Integer(number),
        };
        (0..)
            .zip(&self.events)
            .map(|(offset, &(visitor, item, time, kept))| Arrival {
                offset,
                visitor: id(visitor),
                item: id(item),
                time,
                kept,
            })
            .collect()
    }

    /// What the batch sessionizer gives without the late events, and how many these are.
    fn expected(&self) -> (Vec<Session>, u64) {
        let mut newest = None;
        let mut on_time = Vec::new();
        for arrival in self.arrivals() {
            let oldest = |newest: i64| i128::from(newest) - i128::from(self.settings.tolerance);
            if newest.is_none_or(|newest| i128::from(arrival.time) >= oldest(newest)) {
                newest = newest.max(Some(arrival.time));
                on_time.push(arrival);
            }
        }
        let keys: Vec<i64> = on_time.iter().map(|event| self.events[event.offset as usize].0).collect();
        let times: Vec<i64> = on_time.iter().map(|event| event.time).collect();
        let keep: Vec<bool> = on_time.iter().map(|event| event.kept).collect();
        let same = |a: u32, b: u32| on_time[a as usize].item == on_time[b as usize].item;
        let log = Events {
            keys: &*keys,
            times: &times,
            gap: Some(self.settings.gap),
            keep: Some(&keep),
            drop_repeats: if self.settings.drop_repeats { Some(&same) } else { None },
        };
        let found = with_threads(Some(1), || sessionize(&log)).unwrap().unwrap();
        let owned = |id: IdRef| match id {
            IdRef::Integer(number) => Id::Integer(number),
            IdRef::Unsigned(number) => Id::Unsigned(number),
            IdRef::Text(text) => Id::Text(text.into()),
        };
        let sessions = found.heads.iter().enumerate().map(|(number, &head)| {
            let rows = &found.rows[found.offsets[number] as usize..found.offsets[number + 1] as usize];
            let head = &on_time[head as usize];
            Session {
                visitor: owned(head.visitor),
                start: head.time,
                offset: head.offset,
                items: rows.iter().map(|&row| owned(on_time[row as usize].item)).collect(),
                times: rows.iter().map(|&row| on_time[row as usize].time).collect(),
            }
        });
        (sessions.collect(), (self.events.len() - on_time.len()) as u64)
    }
}

fn streams() -> impl Strategy<Value = Stream> {
    let time = prop_oneof![9 => 0_i64..150, 1 => prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX)]];
    let event = (0_i64..4, 0_i64..3, time, proptest::bool::weighted(0.8));
    let number = prop_oneof![9 => 0_u64..40, 1 => Just(u64::MAX), 1 => Just(i64::MAX as u64)];
    (prop::collection::vec(event, 0..80), number.clone(), number, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(mut events, gap, tolerance, drop_repeats, texts, ordered)| {
            if ordered {
                // As streams are: by time, with some jitter.
                events.sort_by_key(|event| event.2.saturating_add(event.1 * 15));
            }
            let texts = if texts { ["ä", "", "b", "a"].map(str::to_owned).to_vec() } else { Vec::new() };
            Stream { events, texts, settings: Settings { gap, tolerance, drop_repeats } }
        },
    )
}

fn by_start(mut sessions: Vec<Session>) -> Vec<Session> {
    sessions.sort_by_key(|session| (session.start, session.offset));
    sessions
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400)
    ))]
    #[test]
    fn any_batches_with_saving_and_replaying_give_the_sessions_of_the_whole(
        stream in streams(),
        batches in prop::collection::vec((0_usize..12, any::<bool>(), 0_usize..5), 0..40),
    ) {
        let arrivals = stream.arrivals();
        let mut sessionizer = Sessionizer::new(stream.settings);
        let mut found = Vec::new();
        let mut at: usize = 0;
        for (length, saves, back) in batches.into_iter().chain([(usize::MAX, true, 3)]) {
            let end = at.max(at.saturating_add(length).min(arrivals.len()));
            // Some of what was fed comes again before what is new.
            let ended = sessionizer.feed(&arrivals[at.saturating_sub(back)..end]).unwrap();
            prop_assert!(ended.is_sorted_by_key(|session| (session.start, session.offset)));
            found.extend(ended);
            at = end;
            if saves {
                let bytes = sessionizer.to_bytes("note");
                let (loaded, note) = Sessionizer::from_bytes(&bytes).unwrap();
                prop_assert_eq!(note, "note");
                prop_assert_eq!(loaded.to_bytes("note"), bytes);
                sessionizer = loaded;
            }
        }
        let before = sessionizer.to_bytes("");
        prop_assert_eq!(sessionizer.feed(&arrivals).unwrap(), vec![]);
        prop_assert_eq!(sessionizer.to_bytes(""), before);
        found.extend(sessionizer.close());
        let (expected, late) = stream.expected();
        prop_assert_eq!(sessionizer.counts().late, late);
        prop_assert_eq!(sessionizer.counts().sessions, expected.len() as u64);
        prop_assert_eq!(sessionizer.waiting(), 0);
        prop_assert_eq!(by_start(found), expected);
    }

    #[test]
    fn sessions_are_given_out_as_soon_as_nothing_can_change_them(mut stream in streams()) {
        stream.events.iter_mut().for_each(|event| event.3 = true);
        stream.settings.drop_repeats = false;
        let mut sessionizer = Sessionizer::new(stream.settings);
        for arrival in &stream.arrivals() {
            sessionizer.feed(std::slice::from_ref(arrival)).unwrap();
            let watermark = sessionizer.watermark().unwrap();
            // An event at the watermark is on time and would still join every session that is left.
            for left in sessionizer.clone().close() {
                let last = left.times[left.times.len() - 1];
                prop_assert!(last >= watermark || watermark.abs_diff(last) <= stream.settings.gap);
            }
        }
    }
}

fn numbers(events: &[(u64, i64)]) -> Vec<Arrival<'static>> {
    let arrival =
        |&(offset, time)| Arrival { offset, visitor: IdRef::Integer(1), item: IdRef::Integer(2), time, kept: true };
    events.iter().map(arrival).collect()
}

#[test]
fn the_gap_and_the_tolerance_themselves_are_within() {
    let mut sessionizer = Sessionizer::new(Settings { gap: 10, tolerance: 5, drop_repeats: false });
    let ended = |found: Vec<Session>| found.into_iter().map(|session| session.times).collect::<Vec<_>>();
    assert_eq!(ended(sessionizer.feed(&numbers(&[(0, 0), (1, 15)])).unwrap()), Vec::<Vec<i64>>::new());
    assert_eq!(sessionizer.watermark(), Some(10));
    // On time by a hair, and it joins the two.
    assert_eq!(ended(sessionizer.feed(&numbers(&[(2, 10), (3, 9)])).unwrap()), Vec::<Vec<i64>>::new());
    assert_eq!(sessionizer.counts().late, 1);
    assert_eq!(ended(sessionizer.feed(&numbers(&[(9, 31)])).unwrap()), vec![vec![0, 10, 15]]);
    assert_eq!((sessionizer.next_offset(), sessionizer.waiting()), (10, 1));
    assert_eq!(ended(sessionizer.close()), vec![vec![31]]);
    assert!(matches!(sessionizer.feed(&numbers(&[(10, 40)])), Err(Error::Closed)));
    assert!(sessionizer.feed(&numbers(&[(9, 31)])).is_ok());
}

#[test]
fn wrong_batches_change_nothing() {
    let mut sessionizer = Sessionizer::new(Settings { gap: 10, tolerance: 5, drop_repeats: false });
    sessionizer.feed(&numbers(&[(0, 0)])).unwrap();
    let before = sessionizer.to_bytes("");
    assert!(matches!(
        sessionizer.feed(&numbers(&[(1, 1), (1, 2)])),
        Err(Error::Offset { row: 1, offset: 1, before: 1 })
    ));
    let text = Arrival { visitor: IdRef::Text("a"), ..numbers(&[(1, 1)])[0] };
    assert!(matches!(sessionizer.feed(&[text]), Err(Error::Kind { what: What::Visitor, row: 0, .. })));
    assert_eq!(sessionizer.to_bytes(""), before);
}

#[test]
fn a_state_is_saved_whole_and_what_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut sessionizer = Sessionizer::new(Settings { gap: 10, tolerance: 5, drop_repeats: true });
    sessionizer.feed(&numbers(&[(0, 0), (1, 3)])).unwrap();
    sessionizer.save(&path, "columns").unwrap();
    let (mut loaded, note) = Sessionizer::load(&path).unwrap();
    assert_eq!((note.as_str(), loaded.close()), ("columns", sessionizer.close()));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    let bytes = std::fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        assert!(Sessionizer::from_bytes(&bytes[..length]).is_err());
        let mut changed = bytes.clone();
        changed[length] ^= 0x10;
        assert!(Sessionizer::from_bytes(&changed).is_err(), "{length}");
    }
    let told = Sessionizer::load(&folder.path().join("none")).unwrap_err();
    assert!(matches!(told, Error::Io { .. }));
    std::fs::write(&path, "a,b,c and so on").unwrap();
    assert!(Sessionizer::load(&path).unwrap_err().to_string().contains("it is no state of a Sessionizer"));
}

/// Both are a second's work, or hours of it where every session or event moves all others.
#[test]
fn a_visitor_of_very_many_sessions_is_given_out_in_one_go_forwards_and_backwards() {
    const EVENTS: i64 = 1_000_000;
    for backwards in [false, true] {
        let mut sessionizer = Sessionizer::new(Settings { gap: 1, tolerance: u64::MAX, drop_repeats: false });
        let time = |offset: i64| if backwards { (EVENTS - offset) * 2 } else { offset * 2 };
        let events: Vec<(u64, i64)> = (0..EVENTS).map(|offset| (offset as u64, time(offset))).collect();
        assert_eq!(sessionizer.feed(&numbers(&events)).unwrap(), vec![]);
        let found = sessionizer.close();
        assert_eq!(found.len(), EVENTS as usize);
        assert!(found.is_sorted_by_key(|session| session.start));
    }
}

#[test]
fn numbers_of_any_sign_are_one_kind_as_long_as_they_fit() {
    let event = |offset, visitor| Arrival { offset, visitor, item: IdRef::Unsigned(u64::MAX), time: 0, kept: true };
    let mut sessionizer = Sessionizer::new(Settings { gap: 10, tolerance: 5, drop_repeats: false });
    sessionizer.feed(&[event(0, IdRef::Unsigned(u64::MAX)), event(1, IdRef::Integer(7))]).unwrap();
    assert_eq!(sessionizer.kinds(), Some((Kind::Unsigned, Kind::Unsigned)));
    let (mut loaded, _) = Sessionizer::from_bytes(&sessionizer.to_bytes("")).unwrap();
    let told = loaded.feed(&[event(2, IdRef::Unsigned(7)), event(3, IdRef::Integer(-1))]).unwrap_err();
    assert_eq!(
        told.to_string(),
        "the visitor of row 1, -1, is of type integer, those before are of type unsigned integer; a stream has one type of each"
    );
    let visitors: Vec<Id> = loaded.close().into_iter().map(|session| session.visitor).collect();
    assert_eq!(visitors, [Id::Unsigned(u64::MAX), Id::Unsigned(7)]);

    let mut signed = Sessionizer::new(Settings { gap: 10, tolerance: 5, drop_repeats: false });
    signed.feed(&[event(0, IdRef::Integer(-7)), event(1, IdRef::Unsigned(7))]).unwrap();
    let told = signed.feed(&[event(2, IdRef::Unsigned(1 << 63))]).unwrap_err();
    assert!(matches!(told, Error::Kind { what: What::Visitor, row: 0, .. }));
    assert_eq!(signed.waiting(), 2);
}

#[test]
fn many_who_save_at_once_leave_one_whole_state_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    // What a process that was killed left, of this version or another.
    for name in [".state.1.partial", ".state.1-2-3.partial"] {
        std::fs::write(folder.path().join(name), "half").unwrap();
    }
    std::fs::write(folder.path().join(".another.1.partial"), "of another state").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_i64 {
            let path = &path;
            scope.spawn(move || {
                let mut sessionizer = Sessionizer::new(Settings { gap: 10, tolerance: 5, drop_repeats: false });
                for save in 0..20_u64 {
                    sessionizer.feed(&numbers(&[(save, thread * 1_000_000)])).unwrap();
                    sessionizer.save(path, "note").unwrap();
                    assert!(Sessionizer::load(path).is_ok());
                }
            });
        }
    });
    let mut left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, [".another.1.partial", "state"]);
}
