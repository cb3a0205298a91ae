//! The fast paths against a slow, obvious one.

use proptest::prelude::*;
use sessionizer_core::{
    ByteColumn, Error, Events, Named, Sessions, list_sessions, number_sessions, sessionize, with_threads,
};

#[derive(Clone, Debug)]
struct Log {
    keys: Vec<i64>,
    times: Vec<i64>,
    items: Vec<u8>,
    keep: Option<Vec<bool>>,
    gap: Option<u64>,
    drop_repeats: bool,
}

impl Log {
    fn fast(&self, threads: usize) -> Result<Sessions, Error> {
        let same = |a: u32, b: u32| self.items[a as usize] == self.items[b as usize];
        let events = Events {
            keys: &*self.keys,
            times: &self.times,
            gap: self.gap,
            keep: self.keep.as_deref(),
            drop_repeats: if self.drop_repeats { Some(&same) } else { None },
        };
        with_threads(Some(threads), || sessionize(&events)).and_then(|result| result)
    }

    /// The same by every other way to ask: visitors as texts, items carried along, and a number for every row.
    fn agrees_with(&self, expected: &Sessions, threads: usize) -> Result<(), TestCaseError> {
        let same = |a: u32, b: u32| self.items[a as usize] == self.items[b as usize];
        #[allow(clippy::cast_possible_truncation)] // below 30
        let text = |key: &i64| format!("{:1$}", key, 1 + (key.unsigned_abs() % 30) as usize);
        let texts = Texts(self.keys.iter().map(text).collect());
        let items: Vec<i64> = self.items.iter().map(|&item| i64::from(item)).collect();
        let whole = Self { keep: None, drop_repeats: false, ..self.clone() }.slow();
        let (keep, drop_repeats) = (self.keep.as_deref(), self.drop_repeats.then_some(&same as _));
        let (times, gap) = (&*self.times, self.gap);
        let answers = with_threads(Some(threads), || -> Result<_, Error> {
            let log = Events { keys: &*self.keys, times, gap, keep, drop_repeats };
            let by_text = Events { keys: &Named(&texts), times, gap, keep, drop_repeats };
            Ok((
                sessionize(&by_text)?,
                list_sessions(&log, &items)?,
                number_sessions(&log)?,
                number_sessions(&by_text)?,
            ))
        });
        let (sessions, lists, numbers, numbers_by_text) = answers.and_then(|answers| answers)?;
        prop_assert_eq!(&sessions, expected);
        let of = |column: &[i64], rows: &[u32]| rows.iter().map(|&row| column[row as usize]).collect::<Vec<_>>();
        prop_assert_eq!(lists.items, of(&items, &expected.rows));
        prop_assert_eq!(lists.times, of(&self.times, &expected.rows));
        prop_assert_eq!(lists.keys, of(&self.keys, &expected.heads));
        prop_assert_eq!(lists.starts, of(&self.times, &expected.heads));
        prop_assert_eq!(&lists.offsets, &expected.offsets);
        let mut slow = vec![-1; self.keys.len()];
        for (number, ends) in (0..).zip(whole.offsets.windows(2)) {
            let rows = usize::try_from(ends[0]).unwrap_or(0)..usize::try_from(ends[1]).unwrap_or(0);
            whole.rows[rows].iter().for_each(|&row| slow[row as usize] = number);
        }
        prop_assert_eq!(&numbers, &slow);
        prop_assert_eq!(&numbers_by_text, &slow);
        Ok(())
    }

    fn slow(&self) -> Sessions {
        let mut rows: Vec<usize> = (0..self.keys.len()).collect();
        rows.sort_by_key(|&row| (self.keys[row], self.times[row], row));
        let mut sessions: Vec<Vec<usize>> = Vec::new();
        for (place, &row) in rows.iter().enumerate() {
            let goes_on = place > 0 && {
                let before = rows[place - 1];
                let pause = i128::from(self.times[row]) - i128::from(self.times[before]);
                self.keys[before] == self.keys[row] && self.gap.is_none_or(|gap| pause <= i128::from(gap))
            };
            if !goes_on {
                sessions.push(Vec::new());
            }
            sessions.last_mut().into_iter().for_each(|session| session.push(row));
        }
        for session in &mut sessions {
            session.retain(|&row| self.keep.as_ref().is_none_or(|keep| keep[row]));
            if self.drop_repeats {
                session.dedup_by_key(|row| self.items[*row]);
            }
        }
        sessions.retain(|session| !session.is_empty());
        sessions.sort_by_key(|session| (self.times[session[0]], session[0]));
        let narrow = |row: &usize| u32::try_from(*row).unwrap_or(u32::MAX);
        let mut slow = Sessions { offsets: vec![0], ..Sessions::default() };
        for session in &sessions {
            slow.heads.push(narrow(&session[0]));
            slow.rows.extend(session.iter().map(narrow));
            slow.offsets.push(i64::try_from(slow.rows.len()).unwrap_or(0));
        }
        slow
    }
}

struct Texts(Vec<String>);

impl ByteColumn for Texts {
    fn rows(&self) -> usize {
        self.0.len()
    }
    fn value(&self, row: usize) -> &[u8] {
        self.0[row].as_bytes()
    }
}

/// `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    if asked { ProptestConfig::default() } else { ProptestConfig::with_cases(500) }
}

fn logs() -> impl Strategy<Value = Log> {
    let key = prop_oneof![0_i64..4, any::<i64>(), Just(i64::MIN), Just(i64::MAX)];
    let time = prop_oneof![4 => 0_i64..40, 1 => any::<i64>(), 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
    let near = prop::collection::vec((key.clone(), 0_i64..40, 0_u8..3, any::<bool>()), 0..80);
    let far = prop::collection::vec((key, time, 0_u8..3, any::<bool>()), 0..80);
    let gap = prop_oneof![
        Just(None),
        (0_u64..12).prop_map(Some),
        Just(Some(u64::MAX)),
        Just(Some(1 << 63)),
        Just(Some(3_155_760_000_000)), // 100 years
    ];
    (prop_oneof![near, far], gap, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(mut events, gap, ordered, keeps, drop_repeats)| {
            if ordered {
                events.sort_by_key(|event| event.1);
            }
            Log {
                keys: events.iter().map(|event| event.0).collect(),
                times: events.iter().map(|event| event.1).collect(),
                items: events.iter().map(|event| event.2).collect(),
                keep: keeps.then(|| events.iter().map(|event| event.3).collect()),
                gap,
                drop_repeats,
            }
        },
    )
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn short_logs_agree_with_the_slow_one(log in logs()) {
        let slow = log.slow();
        for threads in [1, 3, 8] {
            let fast = log.fast(threads);
            prop_assert_eq!(fast.as_ref(), Ok(&slow));
        }
        log.agrees_with(&slow, 2)?;
    }
}

/// Numbers that look random, the same every time.
fn noise(seed: u64) -> impl FnMut(u64) -> i64 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((state >> 33) % below).unwrap_or(0)
    }
}

/// Long enough for several threads, several buckets and a table of visitors that is built anew.
fn long_log(ordered: bool, pace: u64, gap: Option<u64>, drops: bool) -> Log {
    let mut next = noise(7);
    let rows = 150_000;
    let mut time = -1_000_000;
    let mut log = Log { keys: vec![], times: vec![], items: vec![], keep: None, gap, drop_repeats: drops };
    let mut keep = Vec::new();
    for _ in 0..rows {
        time = if ordered { time + next(pace) } else { next(pace * rows) };
        log.keys.push(if next(3) == 0 { next(500) } else { next(90_000) * 1_000_003 });
        log.times.push(time);
        log.items.push(u8::try_from(next(3)).unwrap_or(0));
        keep.push(next(4) > 0);
    }
    log.keep = drops.then_some(keep);
    log
}

#[test]
fn long_logs_agree_with_the_slow_one_for_any_number_of_threads() {
    for ordered in [true, false] {
        for (pace, gap) in [(1_000, Some(100_000)), (1_000, Some(7_000_000)), (2, Some(150_000)), (3, None)] {
            for drops in [false, true] {
                let log = long_log(ordered, pace, gap, drops);
                let slow = log.slow();
                for threads in [1, 3] {
                    assert!(log.fast(threads).as_ref() == Ok(&slow), "{ordered} {pace} {gap:?} {drops} {threads}");
                }
                assert!(log.agrees_with(&slow, 2).is_ok(), "{ordered} {pace} {gap:?} {drops}");
            }
        }
    }
}

/// Some visitors never pause, so that their sessions reach from the first stretch into the last; of some no early event is kept.
#[test]
fn sessions_without_an_end_cross_all_stretches() {
    for drops in [false, true] {
        let mut log = long_log(true, 40, Some(900), drops);
        for (row, key) in log.keys.iter_mut().enumerate() {
            match row % 20 {
                0 => *key = 5,
                7 => *key = -6,
                _ => {}
            }
        }
        for (row, keep) in log.keep.iter_mut().flatten().enumerate() {
            *keep &= row % 20 != 7 || row > 110_000;
        }
        let slow = log.slow();
        for threads in [1, 3] {
            assert!(log.fast(threads).as_ref() == Ok(&slow), "{drops} {threads}");
        }
        assert!(log.agrees_with(&slow, 2).is_ok(), "{drops}");
    }
}

#[test]
fn one_visitor_with_everything_and_everyone_with_one_event() {
    let rows = 300_000;
    let mut log = long_log(false, 1_000, Some(2_000), false);
    log.keys = vec![-1; log.keys.len()];
    assert_eq!(log.fast(2), Ok(log.slow()));
    log.times = (0..).take(log.keys.len()).collect();
    assert_eq!(log.fast(2), Ok(log.slow()));
    log.keys = (0..rows).collect();
    log.times = vec![5; log.keys.len()];
    log.items = vec![0; log.keys.len()];
    assert_eq!(log.fast(2).map(|found| found.heads.len()), Ok(log.keys.len()));
}

#[test]
fn sessions_go_on_past_parts_without_events() {
    // Half of the events are of one moment, so that they fall into one bucket, which is too much for one thread.
    let times: Vec<i64> = (0..50).chain([60; 100]).chain(61..111).rev().collect();
    let keys: Vec<i64> = (0..).take(times.len()).map(|row| row % 7).collect();
    let items = vec![0; times.len()];
    let log = Log { keys, times, items, keep: None, gap: Some(30), drop_repeats: false };
    let slow = log.slow();
    for threads in [1, 2, 3, 5, 8] {
        assert_eq!(log.fast(threads).as_ref(), Ok(&slow), "{threads}");
        assert!(log.agrees_with(&slow, threads).is_ok(), "{threads}");
    }
}

#[test]
fn the_gap_itself_does_not_end_a_session() {
    let log = |gap| Log {
        keys: vec![1; 3],
        times: vec![0, 10, 21],
        items: vec![0; 3],
        keep: None,
        gap: Some(gap),
        drop_repeats: false,
    };
    assert_eq!(log(10).fast(1).map(|found| found.offsets), Ok(vec![0, 2, 3]));
    assert_eq!(log(9).fast(1).map(|found| found.offsets), Ok(vec![0, 1, 2, 3]));
}

#[test]
fn columns_of_different_lengths_are_refused() {
    let mut log = long_log(true, 2, None, false);
    log.times.pop();
    assert!(matches!(log.fast(1), Err(Error::ColumnLength { .. })));
}
