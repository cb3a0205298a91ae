//! Files against the core, which holds everything in memory.

// A test that cannot go on is one that failed; the numbers in it are small.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::too_many_lines,
    clippy::type_complexity
)]

use std::collections::HashMap;
use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMillisecondType};
use arrow_array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, LargeStringArray, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt8Array, UInt64Array,
};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;
use sessionizer_core::{Events, gap_from_millis, sessionize, with_threads};
use sessionizer_files::{Budget, Error, Settings, Shard, Summary, Watch, join_shards, sessionize_files};

type Event = (i64, i64, i64, bool, Option<u8>, u8);

/// A log, and how it is cut into files and row groups.
#[derive(Debug, Clone)]
struct Log {
    /// Visitor, time, item, whether it is kept, what is carried along, what sessions are apart by.
    events: Vec<Event>,
    texts: bool,
    files: usize,
    group: usize,
    csv: bool,
}

/// A session: number, owner, start, items, times, carried, apart.
type Session = (i64, String, i64, Vec<String>, Vec<i64>, Vec<Option<u8>>, u8);

fn name(number: i64) -> String {
    format!("é{number}")
}

impl Log {
    fn write(&self, folder: &Path) -> Vec<PathBuf> {
        let step = self.events.len().div_ceil(self.files).max(1);
        let mut parts: Vec<&[Event]> = self.events.chunks(step).collect();
        parts.resize(self.files, &[]);
        let written = parts.into_iter().enumerate().map(|(number, events)| {
            let path = folder.join(format!("part-{number}.{}", if self.csv { "csv" } else { "parquet" }));
            if self.csv {
                self.write_csv(events, &path);
            } else {
                self.write_parquet(events, &path);
            }
            path
        });
        written.collect()
    }

    fn write_csv(&self, events: &[Event], path: &Path) {
        let mut text = "apart,visitor,\"the,time\",item,kept,extra\n".to_owned();
        for (visitor, time, item, kept, extra, apart) in events {
            let extra = extra.map_or(String::new(), |extra| extra.to_string());
            let id = |id| if self.texts { format!("\"{}\"", name(id)) } else { id.to_string() };
            writeln!(text, "{apart},{},{time},{},{kept},{extra}\r", id(*visitor), id(*item)).unwrap();
        }
        std::fs::write(path, text).unwrap();
    }

    fn write_parquet(&self, events: &[Event], path: &Path) {
        let ids = |of: fn(&Event) -> i64| -> ArrayRef {
            if self.texts {
                Arc::new(events.iter().map(|event| Some(name(of(event)))).collect::<StringArray>())
            } else {
                Arc::new(events.iter().map(|event| Some(of(event))).collect::<Int64Array>())
            }
        };
        let batch = RecordBatch::try_from_iter(vec![
            ("apart", Arc::new(events.iter().map(|event| Some(event.5)).collect::<UInt8Array>()) as ArrayRef),
            ("visitor", ids(|event| event.0)),
            ("the,time", Arc::new(events.iter().map(|event| Some(event.1)).collect::<Int64Array>())),
            ("item", ids(|event| event.2)),
            ("kept", Arc::new(events.iter().map(|event| Some(event.3)).collect::<BooleanArray>())),
            ("extra", Arc::new(events.iter().map(|event| event.4).collect::<UInt8Array>())),
        ]);
        let batch = batch.unwrap();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(self.group)).build();
        let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }

    fn expected(&self, settings: &Settings) -> Vec<Session> {
        let mut known = HashMap::new();
        let keys: Vec<i64> = self
            .events
            .iter()
            .map(|event| {
                let next = known.len() as i64;
                *known.entry((event.0, if settings.apart.is_empty() { 0 } else { event.5 })).or_insert(next)
            })
            .collect();
        let times: Vec<i64> = self.events.iter().map(|event| event.1).collect();
        let keep: Vec<bool> = self.events.iter().map(|event| event.3).collect();
        let same = |a: u32, b: u32| self.events[a as usize].2 == self.events[b as usize].2;
        let events = Events {
            keys: &*keys,
            times: &times,
            gap: settings.gap,
            keep: settings.keep.as_ref().map(|_| keep.as_slice()),
            drop_repeats: if settings.drop_repeats { Some(&same) } else { None },
        };
        let found = with_threads(Some(1), || sessionize(&events)).unwrap().unwrap();
        let id = |id: i64| if self.texts { name(id) } else { id.to_string() };
        let sessions = found.heads.iter().enumerate().map(|(number, &head)| {
            let rows = &found.rows[found.offsets[number] as usize..found.offsets[number + 1] as usize];
            let listed: Vec<&Event> = rows.iter().map(|&row| &self.events[row as usize]).collect();
            let head = &self.events[head as usize];
            (
                number as i64,
                id(head.0),
                head.1,
                listed.iter().map(|event| id(event.2)).collect(),
                listed.iter().map(|event| event.1).collect(),
                listed.iter().map(|event| event.4).collect(),
                if settings.apart.is_empty() { 0 } else { head.5 },
            )
        });
        sessions.collect()
    }
}

fn texts(array: &ArrayRef) -> Vec<String> {
    match array.as_string_opt::<i64>() {
        Some(texts) => texts.iter().map(|text| text.unwrap().to_owned()).collect(),
        None => array.as_primitive::<Int64Type>().values().iter().map(ToString::to_string).collect(),
    }
}

fn read(path: &Path) -> Vec<Session> {
    let mut sessions = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap() {
        let batch = batch.unwrap();
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let listed = |name: &str, row: usize| column(name).as_list::<i64>().value(row);
        let owners = texts(column("visitor"));
        let apart =
            batch.column_by_name("apart").map(|apart| apart.as_primitive::<arrow_array::types::Int64Type>().clone());
        for (row, owner) in owners.into_iter().enumerate() {
            let extra = listed("extra", row);
            let extra = arrow_cast::cast(&extra, &arrow_schema::DataType::UInt8).unwrap();
            sessions.push((
                column("session_id").as_primitive::<Int64Type>().value(row),
                owner,
                column("start").as_primitive::<TimestampMillisecondType>().value(row),
                texts(&listed("items", row)),
                listed("times", row).as_primitive::<TimestampMillisecondType>().values().to_vec(),
                extra.as_primitive::<arrow_array::types::UInt8Type>().iter().collect(),
                apart.as_ref().map_or(0, |apart| u8::try_from(apart.value(row)).unwrap()),
            ));
        }
    }
    sessions
}

fn settings() -> Settings {
    Settings {
        owner: "visitor".to_owned(),
        item: "item".to_owned(),
        timestamp: "the,time".to_owned(),
        extra: vec!["extra".to_owned()],
        memory_limit: 64 << 20,
        threads: Some(2),
        csv_types: vec![("extra".to_owned(), sessionizer_files::CsvType::Integer)],
        ..Settings::default()
    }
}

fn run(inputs: &[PathBuf], output: &Path, settings: &Settings) -> Result<Summary, Error> {
    sessionize_files(inputs, output, settings, &Watch::default())
}

fn logs() -> impl Strategy<Value = Log> {
    let id = prop_oneof![4 => 0_i64..6, 1 => any::<i64>(), 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
    let time = prop_oneof![9 => 0_i64..200, 1 => any::<i64>()];
    let event = (id, time, 0_i64..4, any::<bool>(), proptest::option::of(0_u8..9), 0_u8..2);
    let events = prop::collection::vec(event, 0..120);
    (events, any::<bool>(), 1_usize..4, 1_usize..50, any::<bool>()).prop_map(|(events, texts, files, group, csv)| Log {
        events,
        texts,
        files,
        group,
        csv,
    })
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]
    #[test]
    fn files_give_the_sessions_of_the_core(
        log in logs(),
        gap in 0_i64..30,
        keeps in any::<bool>(),
        drop_repeats in any::<bool>(),
        partitions in 1_usize..9,
        shards in 1_usize..4,
        threads in 1_usize..4,
        on_disk in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let inputs = log.write(folder.path());
        let mut settings = settings();
        settings.gap = Some(gap_from_millis(gap).unwrap());
        settings.keep = keeps.then(|| "kept".to_owned());
        settings.drop_repeats = drop_repeats;
        settings.partitions = Some(partitions);
        settings.threads = Some(threads);
        settings.budget = on_disk.then_some(Budget { kept: 0, work: 1 << 20 });
        let expected = log.expected(&settings);

        let whole = folder.path().join("whole.parquet");
        let summary = run(&inputs, &whole, &settings).unwrap();
        prop_assert_eq!(summary.events, log.events.len() as u64);
        prop_assert_eq!(summary.sessions, expected.len() as u64);
        prop_assert_eq!(read(&whole), expected);

        let mut joined = Vec::new();
        for number in 0..shards {
            let shard = Settings { shard: Some(Shard { number, of: shards }), partitions: Some(partitions + 1), ..settings.clone() };
            joined.push(folder.path().join(format!("{number}.shard")));
            run(&inputs, &joined[number], &shard).unwrap();
        }
        joined.reverse();
        let output = folder.path().join("joined.parquet");
        let again = join_shards(&joined, &output, &settings, &Watch::default()).unwrap();
        prop_assert_eq!(again, summary);
        prop_assert_eq!(std::fs::read(output).unwrap(), std::fs::read(whole).unwrap());
        // Nothing is left beside what was asked for.
        prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), inputs.len() + shards + 2);
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

fn long_log(rows: usize, csv: bool, texts: bool) -> Log {
    let mut next = noise(3);
    let event = |_| (next(9_000) * 1_000_003, next(40_000_000), next(50), true, Some(3), 0);
    Log { events: (0..rows).map(event).collect(), texts, files: 3, group: 10_000, csv }
}

#[test]
fn long_logs_are_split_again_and_written_in_stretches_to_the_same_bytes() {
    for (csv, strings) in [(false, false), (true, false), (false, true)] {
        let log = long_log(120_000, csv, strings);
        let folder = tempfile::tempdir().unwrap();
        let inputs = log.write(folder.path());
        let mut settings = settings();
        settings.count_owners = true;
        let roomy = folder.path().join("roomy.parquet");
        let summary = run(&inputs, &roomy, &settings).unwrap();
        assert_eq!(read(&roomy), log.expected(&settings));
        let mut owners: Vec<i64> = log.events.iter().map(|event| event.0).collect();
        owners.sort_unstable();
        owners.dedup();
        assert_eq!(summary.owners, Some(owners.len() as u64));
        for (threads, work) in [(1, 2_000_000), (3, 1_000_000)] {
            let tight = Settings {
                budget: Some(Budget { kept: 100_000, work }),
                threads: Some(threads),
                partitions: Some(2),
                ..settings.clone()
            };
            let output = folder.path().join("tight.parquet");
            assert_eq!(run(&inputs, &output, &tight).unwrap(), summary);
            assert!(std::fs::read(&output).unwrap() == std::fs::read(&roomy).unwrap());
        }
    }
}

#[test]
fn an_owner_too_large_for_the_limit_is_named_with_a_limit_that_is_enough() {
    let mut log = long_log(30_000, false, true);
    log.events.iter_mut().for_each(|event| event.0 = 7);
    let folder = tempfile::tempdir().unwrap();
    let inputs = log.write(folder.path());
    let settings = Settings { budget: Some(Budget { kept: 0, work: 1 << 20 }), ..settings() };
    let output = folder.path().join("sessions.parquet");
    let error = run(&inputs, &output, &settings).unwrap_err();
    assert!(matches!(error, Error::Memory { .. }));
    assert!(error.to_string().contains("the 30000 events of visitor 'é7'"), "{error}");
    assert!(!output.exists());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), inputs.len());
}

#[test]
fn long_texts_of_an_owner_count_as_they_came_and_as_they_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.parquet");
    let output = folder.path().join("sessions.parquet");
    let numbers: ArrayRef = Arc::new((0..100_i64).map(Some).collect::<Int64Array>());
    let ones: ArrayRef = Arc::new(Int64Array::from(vec![1; 100]));
    let items: ArrayRef = Arc::new((0..100).map(|item| Some(item.to_string().repeat(5_000))).collect::<StringArray>());
    write_batch(&path, vec![("visitor", ones), ("item", items), ("the,time", numbers)]);
    let plain = Settings { extra: Vec::new(), csv_types: Vec::new(), ..settings() };
    let with = |work| {
        let settings = Settings { budget: Some(Budget { kept: 0, work }), ..plain.clone() };
        run(std::slice::from_ref(&path), &output, &settings)
    };
    // 950,000 bytes of texts.
    assert!(matches!(with(1_500_000), Err(Error::Memory { .. })));
    assert_eq!(with(2_000_000).unwrap().clicks, 100);
}

#[test]
fn numbers_beyond_the_signed_ones_and_several_owners_of_one_part_are_named_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.parquet");
    let output = folder.path().join("sessions.parquet");
    let told = |owners: Vec<u64>, work: u64| {
        let numbers: ArrayRef = Arc::new((0..owners.len() as i64).map(Some).collect::<Int64Array>());
        let owners: ArrayRef = Arc::new(UInt64Array::from(owners));
        write_batch(&path, vec![("visitor", owners), ("item", Arc::clone(&numbers)), ("the,time", numbers)]);
        let settings = Settings {
            extra: Vec::new(),
            csv_types: Vec::new(),
            partitions: Some(1),
            budget: Some(Budget { kept: 0, work }),
            ..settings()
        };
        run(std::slice::from_ref(&path), &output, &settings).unwrap_err().to_string()
    };
    let one = told(vec![u64::MAX; 30_000], 1 << 20);
    assert!(one.contains("the 30000 events of visitor 18446744073709551615;"), "{one}");
    // An event fits and two do not; of so many visitors some stay together, however often they are split.
    let several = told((0..2_000).collect(), 150);
    assert!(several.contains("the 2 events of 2 values of visitor whose hashes are too alike"), "{several}");
}

#[test]
fn a_footer_that_counts_other_rows_than_its_row_groups_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.parquet");
    let numbers = || Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    write_batch(&path, vec![("v", numbers()), ("i", numbers()), ("t", numbers())]);
    let plain = Settings { owner: "v".into(), item: "i".into(), timestamp: "t".into(), ..Settings::default() };
    let whole = std::fs::read(&path).unwrap();
    // Thrift: field 3, a number that stands doubled, of three rows; field 4, a list of one row group.
    let counted = whole.windows(4).position(|bytes| bytes == [0x16, 6, 0x19, 0x1C]).unwrap();
    for (rows, expected) in
        [(3, None), (2, Some("its footer counts 2 rows, its row groups have 3")), (4, Some("4 rows"))]
    {
        let mut bytes = whole.clone();
        bytes[counted + 1] = rows * 2;
        std::fs::write(&path, bytes).unwrap();
        let found = run(std::slice::from_ref(&path), &folder.path().join("out"), &plain);
        match expected {
            None => assert_eq!(found.unwrap().events, 3),
            Some(expected) => {
                let told = found.unwrap_err().to_string();
                assert!(told.contains(expected), "{told}");
            }
        }
    }
}

#[test]
fn sessions_apart_by_more_than_their_owner() {
    let log = Log { csv: false, ..long_log(3_000, false, false) };
    let mut events = log.events.clone();
    let mut next = noise(9);
    for event in &mut events {
        (event.0, event.5) = (next(40), u8::try_from(next(3)).unwrap());
    }
    let log = Log { events, csv: true, ..log };
    let folder = tempfile::tempdir().unwrap();
    let inputs = log.write(folder.path());
    let settings = Settings { apart: vec!["apart".to_owned()], gap: None, ..settings() };
    let output = folder.path().join("sessions.parquet");
    run(&inputs, &output, &settings).unwrap();
    assert_eq!(read(&output), log.expected(&settings));
}

fn write_batch(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn told(inputs: &[PathBuf], settings: &Settings) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("sessions.parquet");
    let error = run(inputs, &output, settings).unwrap_err();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    error.to_string()
}

#[test]
fn what_cannot_be_used_is_told_with_file_column_and_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let plain = Settings { owner: "v".into(), item: "i".into(), timestamp: "t".into(), ..Settings::default() };
    let integers = |values: Vec<Option<i64>>| Arc::new(Int64Array::from(values)) as ArrayRef;
    let good = || integers(vec![Some(1), Some(2)]);
    write_batch(&path("good.parquet"), vec![("v", good()), ("i", good()), ("t", good())]);
    write_batch(&path("null.parquet"), vec![("v", good()), ("i", integers(vec![Some(1), None])), ("t", good())]);
    write_batch(
        &path("type.parquet"),
        vec![("v", Arc::new(Int32Array::from(vec![1, 2]))), ("i", good()), ("t", good())],
    );
    write_batch(
        &path("text.parquet"),
        vec![("v", good()), ("i", good()), ("t", Arc::new(LargeStringArray::from(vec!["a", "b"])))],
    );
    write_batch(
        &path("range.parquet"),
        vec![("v", good()), ("i", good()), ("t", Arc::new(arrow_array::TimestampSecondArray::from(vec![0, i64::MAX])))],
    );
    for (inputs, expected) in [
        (vec!["good.parquet", "null.parquet"], "null.parquet: column 'i' has a null in row 1"),
        (vec!["good.parquet", "type.parquet"], "column 'v' is of type Int32 in"),
        (vec!["text.parquet"], "text.parquet: column 't' is of type LargeUtf8; a timestamp, a date or an integer"),
        (vec!["range.parquet"], "range.parquet: column 't', row 1: 9223372036854775807 seconds is out of range"),
        (vec!["missing.parquet"], "missing.parquet: No such file"),
        (vec![], "there is no input file"),
    ] {
        let inputs: Vec<PathBuf> = inputs.into_iter().map(path).collect();
        let told = told(&inputs, &plain);
        assert!(told.contains(expected), "{told}");
    }
    for (text, expected) in [
        ("", "it is empty"),
        ("v,i\n1,2\n", "there is no column 't'; the table has 'v', 'i'"),
        ("v,i,t,t\n", "'t' stands for more than one column"),
        ("v,i,t\n1,2,3\n1,2\n", "row 1 has 2 fields where the header has 3"),
        ("v,i,t\n1,2,3\n1,,3\n", "column 'i' has a null in row 1"),
        ("v,i,t\n1,2,3\n1,2,yesterday\n", "column 't', row 1: \"yesterday\" is not a time"),
        // The mark is that of the file and of no name.
        ("v,\u{feff}i,t\n1,2,3\n", "there is no column 'i'"),
        ("\u{feff}", "it is empty"),
    ] {
        std::fs::write(path("log.csv"), text).unwrap();
        let told = told(&[path("log.csv")], &plain);
        assert!(told.contains("log.csv") && told.contains(expected), "{told}");
    }
    // Far behind what types are guessed from, and in another block.
    let mut text = "v,i,t\n".to_owned();
    for row in 0..400_000 {
        writeln!(text, "{row},1,{row}00000").unwrap();
    }
    text += "1,x,5\n";
    std::fs::write(path("log.csv"), text).unwrap();
    let far = told(&[path("log.csv")], &plain);
    assert!(far.contains("column 'i', row 400000: \"x\" is not a whole number"), "{far}");

    std::fs::write(path("damaged.parquet"), b"PAR1 and so on").unwrap();
    let damaged = told(&[path("damaged.parquet")], &plain);
    assert!(damaged.contains("damaged.parquet cannot be read"), "{damaged}");
    let own = run(&[path("good.parquet")], &path("good.parquet"), &plain).unwrap_err();
    assert!(matches!(own, Error::OverInput { .. }));
    for wrong in [
        Settings { memory_limit: 1, ..plain.clone() },
        Settings { threads: Some(0), ..plain.clone() },
        Settings { partitions: Some(0), ..plain.clone() },
        Settings { shard: Some(Shard { number: 2, of: 2 }), ..plain.clone() },
        Settings { columns: Some(vec!["what".into()]), ..plain.clone() },
        Settings { csv_types: vec![("what".into(), sessionizer_files::CsvType::Text)], ..plain.clone() },
        Settings { extra: vec!["i".into(), "i".into()], ..plain.clone() },
    ] {
        assert!(matches!(run(&[path("good.parquet")], &path("out"), &wrong), Err(Error::Input(_))), "{wrong:?}");
    }
}

#[test]
fn times_of_every_unit_and_chosen_columns() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.parquet");
    let micros = TimestampMicrosecondArray::from(vec![-1, 2_999]).with_timezone("Asia/Tokyo");
    let ones: ArrayRef = Arc::new(Int64Array::from(vec![1, 1]));
    write_batch(&path, vec![("v", Arc::clone(&ones)), ("i", ones), ("t", Arc::new(micros))]);
    let csv = folder.path().join("log.csv");
    std::fs::write(&csv, "\u{feff}t;i;v\n1970-01-01T00:00:00.004Z;\"7\";1\n").unwrap();
    let settings = Settings {
        owner: "v".into(),
        item: "i".into(),
        timestamp: "t".into(),
        delimiter: b';',
        columns: Some(vec!["items".into(), "times".into()]),
        ..Settings::default()
    };
    let output = folder.path().join("sessions.parquet");
    run(&[path, csv], &output, &settings).unwrap();
    let mut reader = ParquetRecordBatchReaderBuilder::try_new(File::open(output).unwrap()).unwrap().build().unwrap();
    let batch = reader.next().unwrap().unwrap();
    assert_eq!(
        batch.schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
        ["items", "times"]
    );
    let listed = |place: usize| batch.column(place).as_list::<i64>().value(0);
    assert_eq!(listed(0).as_primitive::<Int64Type>().values(), &[1, 1, 7]);
    assert_eq!(listed(1).as_primitive::<TimestampMillisecondType>().values(), &[-1, 2, 4]);
}

#[test]
fn one_who_stops_gets_nothing_and_leaves_nothing() {
    let log = long_log(1_000, false, false);
    let folder = tempfile::tempdir().unwrap();
    let inputs = log.write(folder.path());
    let watch = Watch::default();
    watch.stop();
    let output = folder.path().join("sessions.parquet");
    assert!(matches!(sessionize_files(&inputs, &output, &settings(), &watch), Err(Error::Cancelled)));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), inputs.len());
}

#[test]
fn shards_that_do_not_belong_together_are_refused() {
    let log = long_log(500, false, false);
    let folder = tempfile::tempdir().unwrap();
    let inputs = log.write(folder.path());
    let shard = |number, of, gap, name: &str| {
        let settings = Settings { shard: Some(Shard { number, of }), gap: Some(gap), ..settings() };
        let path = folder.path().join(name);
        run(&inputs, &path, &settings).unwrap();
        path
    };
    let (first, second) = (shard(0, 2, 9, "a"), shard(1, 2, 9, "b"));
    let (other, third) = (shard(1, 2, 10, "c"), shard(1, 3, 9, "d"));
    // The same settings, another log.
    let less = Settings { shard: Some(Shard { number: 1, of: 2 }), gap: Some(9), ..settings() };
    let strange = folder.path().join("e");
    run(&inputs[1..], &strange, &less).unwrap();
    let longer = folder.path().join("f");
    run(&[&inputs[..], &inputs[..1]].concat(), &longer, &less).unwrap();
    let output = folder.path().join("sessions.parquet");
    let join = |paths: &[&PathBuf]| {
        let paths: Vec<PathBuf> = paths.iter().map(|&path| path.clone()).collect();
        join_shards(&paths, &output, &settings(), &Watch::default()).map_err(|error| error.to_string())
    };
    for (paths, expected) in [
        (vec![&first], "shard 1 of 2 is missing"),
        (vec![&first, &first], "it is shard 0 as"),
        (vec![&first, &other], "it was made with gap Some(10)"),
        (vec![&first, &third], "it is one of 3 shards"),
        (vec![&first, &strange], "it was made of a log of"),
        (vec![&first, &longer], "it was made of a log of"),
    ] {
        let told = join(&paths).unwrap_err();
        assert!(told.contains(expected), "{told}");
    }
    assert!(join(&[&second, &first]).is_ok());
    let whole = std::fs::read(&first).unwrap();
    for (place, expected) in [
        (7, "another version of the program wrote it"),
        (8, "it is damaged; make it again"),
        (60, "it is damaged; make it again"),
        (whole.len() - 60, "it is no whole shard"),
        (whole.len() - 1, "it is no whole shard"),
    ] {
        let mut bytes = whole.clone();
        bytes[place] ^= 1;
        std::fs::write(&first, bytes).unwrap();
        let told = join(&[&second, &first]).unwrap_err();
        assert!(told.contains(expected) && told.starts_with(&first.display().to_string()), "{place}: {told}");
    }
}

#[test]
fn owners_of_shards_are_known_where_all_counted_them() {
    let log = long_log(300, false, false);
    let folder = tempfile::tempdir().unwrap();
    let inputs = log.write(folder.path());
    let shard = |number, count_owners, name: &str| {
        let settings = Settings { shard: Some(Shard { number, of: 2 }), count_owners, ..settings() };
        let path = folder.path().join(name);
        let owners = run(&inputs, &path, &settings).unwrap().owners;
        assert_eq!(owners.is_some(), count_owners);
        (path, owners)
    };
    let (first, of_first) = shard(0, true, "a");
    let (second, of_second) = shard(1, true, "b");
    let (uncounted, _) = shard(1, false, "c");
    let output = folder.path().join("sessions.parquet");
    let joined = |paths: &[PathBuf]| join_shards(paths, &output, &settings(), &Watch::default()).unwrap().owners;
    assert_eq!(joined(&[first.clone(), second]), Some(of_first.unwrap() + of_second.unwrap()));
    assert_eq!(joined(&[first, uncounted]), None);
    // None is a number too, where there is nobody.
    let empty = folder.path().join("empty.csv");
    std::fs::write(&empty, "visitor,item,\"the,time\",extra\n").unwrap();
    let settings = Settings { count_owners: true, ..settings() };
    assert_eq!(run(&[empty], &output, &settings).unwrap().owners, Some(0));
}
