//! The index and its answers, against slow forms and by hand.
#![allow(missing_docs, clippy::unwrap_used)]
// Numbers are small here.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)]

use std::fs;
use std::path::PathBuf;

use neighbours::{
    Anchor, Candidates, Clicks, Decay, Error, Index, Log, Parameters, Settings, build, rank, recommend, score,
    score_all,
};
use proptest::prelude::*;

const ITEMS: usize = 9;

fn flat(lists: &[Vec<i32>]) -> (Vec<i32>, Vec<i64>) {
    let mut offsets = vec![0];
    offsets.extend(lists.iter().scan(0, |end, list| {
        *end += list.len() as i64;
        Some(*end)
    }));
    (lists.concat(), offsets)
}

fn indexed(lists: &[Vec<i32>], most: usize, threads: usize) -> Index {
    let (clicks, offsets) = flat(lists);
    let starts: Vec<i64> = (0..lists.len() as i64).map(|session| session / 2 * 90_000).collect();
    build(Log { clicks: &clicks, offsets: &offsets, starts: Some(&starts), items: ITEMS }, most, threads).unwrap()
}

fn scores_of(index: &Index, settings: Settings, query: &[i32]) -> Vec<f32> {
    let queries = Clicks { items: query, begins: &[0], ends: &[query.len() as i64] };
    score_all(index, &Parameters::new(settings).unwrap(), queries, 1).unwrap()
}

/// Every shared click counts 1, everything else of a session that votes 1.
fn plain() -> Settings {
    Settings {
        query_decay: Decay::None,
        idf_similarity: 0.0,
        length_norm: 0.0,
        distance_decay: Decay::None,
        before: 1.0,
        ..Settings::default()
    }
}

fn session() -> impl Strategy<Value = Vec<i32>> {
    prop::collection::vec(0..ITEMS as i32, 0..7)
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("neighbours.{}.{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// With all weights 1, an item's score is the sum, over the sessions that hold it, of the items they share with the query.
    #[test]
    fn plain_scores_can_be_counted(lists in prop::collection::vec(session(), 0..20), query in session(), most in 0_usize..5, threads in 1_usize..4) {
        let found = scores_of(&indexed(&lists, most, threads), plain(), &query);
        for (item, &score) in (0..).zip(&found) {
            let kept = if most == 0 { usize::MAX } else { most };
            let mut asked = query.clone();
            asked.sort_unstable();
            asked.dedup();
            let listed = |session: usize, shared: i32| {
                lists[session].contains(&shared) && lists[session + 1..].iter().filter(|later| later.contains(&shared)).count() < kept
            };
            let votes: usize = (0..lists.len())
                .filter(|&session| lists[session].contains(&item))
                .map(|session| asked.iter().filter(|&&shared| listed(session, shared)).count())
                .sum();
            let clicks = lists.iter().flatten().filter(|&&clicked| clicked == item).count();
            let expected = if votes > 0 { votes as f32 } else { -1.0 / (1.0 + clicks as f32) };
            prop_assert!((score - expected).abs() < 1e-6, "item {item}: {score} instead of {expected}");
        }
    }

    /// Lists, ranks and single scores are those of all scores, whatever the number of threads.
    #[test]
    fn answers_are_those_of_all_scores(lists in prop::collection::vec(session(), 1..20), asked in prop::collection::vec(session(), 1..70), threads in 1_usize..4) {
        let index = indexed(&lists, 0, threads);
        let chosen = Parameters::new(Settings { anchor: Anchor::All, neighbours: 5, recency: 100_000, ..Settings::default() }).unwrap();
        let (items, offsets) = flat(&asked);
        let queries = Clicks { items: &items, begins: &offsets[..asked.len()], ends: &offsets[1..] };
        let scores = score_all(&index, &chosen, queries, 1).unwrap();
        prop_assert_eq!(&scores, &score_all(&index, &chosen, queries, threads).unwrap());
        let every: Vec<i32> = (0..asked.len()).flat_map(|_| 0..ITEMS as i32).collect();
        prop_assert_eq!(&scores, &score(&index, &chosen, queries, &every, ITEMS, threads).unwrap());
        let exclude = Clicks { items: &items, begins: &offsets[..asked.len()], ends: &offsets[..asked.len()] };
        let candidates = Candidates { only: None, exclude: Some(exclude) };
        let listed = recommend(&index, &chosen, queries, 4, candidates, threads).unwrap();
        let targets: Vec<i32> = (0..asked.len()).map(|query| (query % ITEMS) as i32).collect();
        let ranked = rank(&index, &chosen, queries, &targets, 4, None, threads).unwrap();
        prop_assert_eq!(&ranked.items, &listed.items);
        for query in 0..asked.len() {
            let row = &scores[query * ITEMS..][..ITEMS];
            let mut order: Vec<usize> = (0..ITEMS).collect();
            order.sort_by(|&one, &other| row[other].total_cmp(&row[one]));
            prop_assert_eq!(&listed.items[query * 4..][..4], &order[..4].iter().map(|&item| item as i32).collect::<Vec<_>>());
            let above = row.iter().filter(|&&score| score >= row[query % ITEMS]).count();
            prop_assert_eq!(ranked.ranks[query], above as i64);
        }
    }
}

#[test]
fn every_altered_byte_of_a_file_is_found() {
    let folder = Folder::new("altered");
    let path = folder.0.join("index");
    let index = indexed(&[vec![0, 1, 2], vec![1, 1, 3], vec![8]], 2, 1);
    index.save(&path).unwrap();
    let read = Index::open(&path, 2).unwrap();
    assert_eq!((read.items(), read.sessions(), read.clicks(), read.sessions_per_item()), (ITEMS, 3, 7, 2));
    assert_eq!(scores_of(&read, plain(), &[1]), scores_of(&index, plain(), &[1]));
    let whole = fs::read(&path).unwrap();
    assert_eq!(whole.len(), index.bytes());
    for place in 0..whole.len() {
        let mut altered = whole.clone();
        altered[place] ^= 4;
        fs::write(&path, &altered).unwrap();
        assert!(matches!(Index::open(&path, 1), Err(Error::File { .. })), "byte {place}");
    }
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(matches!(Index::open(&path, 1), Err(Error::File { .. })), "{length} bytes");
    }
}

#[test]
fn number_of_threads_does_not_show_in_a_file() {
    let folder = Folder::new("threads");
    let mut state = 1_u32;
    let mut next = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    let lists: Vec<Vec<i32>> = (0..500).map(|_| (0..next(8)).map(|_| (next(3) * next(4)) as i32).collect()).collect();
    let saved = |threads: usize| {
        let path = folder.0.join(threads.to_string());
        indexed(&lists, 7, threads).save(&path).unwrap();
        fs::read(&path).unwrap()
    };
    let alone = saved(1);
    for threads in [2, 3, 9] {
        assert_eq!(saved(threads), alone, "{threads} threads");
    }
}
