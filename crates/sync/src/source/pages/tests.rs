use super::*;

use std::collections::HashMap;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Row as _};

/// Numbers that look like chance, the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % most as u64).unwrap()
    }
}

/// A file in SQLite's memory.
struct Bench {
    connection: SqliteConnection,
}

/// What a table says, by the numbers of its rows.
type Said = HashMap<i64, Vec<u8>>;

impl Bench {
    async fn new(pragmas: &str) -> Bench {
        let options = SqliteConnectOptions::new().filename(":memory:").disable_statement_logging();
        let mut bench = Bench { connection: options.connect().await.unwrap() };
        bench.run(pragmas.to_owned()).await;
        bench.run("CREATE TABLE a (id TEXT PRIMARY KEY, text); CREATE TABLE b (text, n)".to_owned()).await;
        bench.run("CREATE TABLE beside (text); CREATE INDEX a_text ON a (text)".to_owned()).await;
        bench
    }

    async fn run(&mut self, script: String) {
        sqlx::raw_sql(AssertSqlSafe(script)).execute(&mut self.connection).await.unwrap();
    }

    async fn copy(&mut self) -> SqliteOwnedBuf {
        self.connection.serialize(None).await.unwrap()
    }

    async fn roots(&mut self) -> Vec<u32> {
        let mut roots = Vec::new();
        for name in ["a", "b"] {
            let statement = "SELECT rootpage FROM sqlite_schema WHERE type = 'table' AND name = ?";
            roots.push(sqlx::query_scalar(statement).bind(name).fetch_one(&mut self.connection).await.unwrap());
        }
        roots
    }

    async fn pages(&mut self) -> Option<Pages> {
        let roots = self.roots().await;
        Pages::of(self.copy().await, &roots)
    }

    async fn said(&mut self) -> [Said; 2] {
        let mut said = [Said::new(), Said::new()];
        for (said, columns) in
            said.iter_mut().zip(["quote(id) || quote(text) FROM a", "quote(text) || quote(n) FROM b"])
        {
            let rows =
                sqlx::query(AssertSqlSafe(format!("SELECT rowid, CAST({columns}").replace(" FROM", " AS BLOB) FROM")));
            for row in rows.fetch_all(&mut self.connection).await.unwrap() {
                said.insert(row.get(0), row.get(1));
            }
        }
        said
    }

    /// Some statement, about few rows or many, with short and long texts.
    fn turn(chance: &mut Chance) -> String {
        let (few, many) = (1 + chance.below(4), 1 + chance.below(300));
        let (length, longest) = ([3, 40, 300, 900][chance.below(4)], [900, 5_000, 40_000][chance.below(3)]);
        let (text, n) = (format!("hex(zeroblob({length}))"), chance.below(1_000));
        let (table, from) = (["a", "b"][chance.below(2)], chance.below(1_500));
        let within = |count: usize| format!("rowid BETWEEN {from} AND {from} + {count}");
        match chance.below(11) {
            0..3 => format!("UPDATE {table} SET text = {text} || {n} WHERE {}", within(few)),
            3 => format!("UPDATE b SET text = NULL, n = {from} WHERE {}", within(many)),
            4 => format!("DELETE FROM {table} WHERE {}", within(few)),
            5 => format!("DELETE FROM {table} WHERE {}", within(many)),
            6 => format!("INSERT OR REPLACE INTO b (rowid, text) VALUES ({from}, hex(zeroblob({longest})) || {n})"),
            // Of the same length, so that it stays where it is: of a long text no page but its last says another thing.
            9.. => format!(
                "UPDATE {table} SET text = substr(text, 1, length(text) - 3) || '{n:03}' WHERE length(text) > 3 AND {}",
                within(few * 20)
            ),
            7 => format!("INSERT INTO beside VALUES ({text})"),
            _ => format!(
                "INSERT INTO {table} (text) WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {many}) \
                 SELECT {text} || {n} || n FROM n"
            ),
        }
    }
}

const PRAGMAS: [&str; 5] = [
    "PRAGMA page_size = 512",
    "PRAGMA page_size = 1024; PRAGMA auto_vacuum = FULL",
    "PRAGMA page_size = 4096",
    "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL",
    "PRAGMA page_size = 65536",
];

/// Whatever is written, each row that is another than it was is among those that pages suspect.
#[tokio::test]
async fn no_row_that_differs_is_left_out() {
    let (mut told, mut turns) = (0, 0);
    for (place, pragmas) in PRAGMAS.into_iter().enumerate() {
        let (mut chance, mut bench) = (Chance(0x5eed + place as u64), Bench::new(pragmas).await);
        let (mut pages, mut said) = (bench.pages().await.unwrap(), bench.said().await);
        for turn in 0..60 {
            let script = Bench::turn(&mut chance);
            bench.run(script.clone()).await;
            let (now, says) = (bench.pages().await.unwrap(), bench.said().await);
            let suspected = now.suspected_since(&pages).unwrap();
            for (table, suspected) in suspected.iter().enumerate() {
                let numbers: HashSet<i64> = said[table].keys().chain(says[table].keys()).copied().collect();
                let differ = numbers.iter().filter(|number| said[table].get(number) != says[table].get(number));
                for number in differ {
                    assert!(suspected.binary_search(number).is_ok(), "{pragmas}, turn {turn}: {number} after {script}");
                }
            }
            if said == says {
                turns += 1;
                told += usize::from(suspected.iter().all(Vec::is_empty));
            }
            (pages, said) = (now, says);
        }
    }
    assert!(turns > 20, "{turns}");
    assert_eq!(told, turns, "what lies beside the tables suspects none of their rows");
}

#[tokio::test]
async fn one_change_suspects_the_rows_of_a_page() {
    let mut bench = Bench::new(PRAGMAS[2]).await;
    let many = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000)";
    bench.run(format!("INSERT INTO b {many} SELECT 'a text of some length', n FROM n")).await;
    let pages = bench.pages().await.unwrap();
    bench.run("UPDATE b SET text = 'a text of SOME length' WHERE n = 7777".to_owned()).await;
    let suspected = bench.pages().await.unwrap().suspected_since(&pages).unwrap();
    assert!(suspected[0].is_empty() && suspected[1].contains(&7_777) && suspected[1].len() < 200, "{suspected:?}");
}

/// The leaf of a long row says what it said; only the chain says another thing.
#[tokio::test]
async fn a_change_at_the_end_of_a_long_row_alone_is_suspected() {
    for pragmas in PRAGMAS {
        let mut bench = Bench::new(pragmas).await;
        let text = "hex(zeroblob(100000))";
        bench.run(format!("INSERT INTO b (text) VALUES ('short'), ({text} || '000'), ({text} || '000')")).await;
        let pages = bench.pages().await.unwrap();
        bench.run(format!("UPDATE b SET text = {text} || '001' WHERE rowid = 2")).await;
        let now = bench.pages().await.unwrap();
        assert!(
            pages.tables[1]
                .iter()
                .all(|leaf| File::of(&now.file).unwrap().is_same(File::of(&pages.file).unwrap(), *leaf))
        );
        assert_eq!(now.suspected_since(&pages).unwrap(), [vec![], vec![2]], "{pragmas}");
    }
}

#[tokio::test]
async fn beyond_the_rows_that_are_told_one_by_one_it_can_be_any() {
    let mut bench = Bench::new(PRAGMAS[4]).await;
    let pages = bench.pages().await.unwrap();
    let rows = |count: usize| {
        format!(
            "DELETE FROM b; INSERT INTO b (n) WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n \
             WHERE n < {count}) SELECT n FROM n"
        )
    };
    bench.run(rows(ROWS_SUSPECTED_MAX)).await;
    assert_eq!(bench.pages().await.unwrap().suspected_since(&pages).unwrap()[1].len(), ROWS_SUSPECTED_MAX);
    bench.run(rows(ROWS_SUSPECTED_MAX + 1)).await;
    assert!(bench.pages().await.unwrap().suspected_since(&pages).is_none());
}

/// What a row's bytes mean stands in the schema and in the header.
#[tokio::test]
async fn under_another_schema_or_format_it_can_be_any_row() {
    let mut bench = Bench::new(PRAGMAS[2]).await;
    bench.run("INSERT INTO a VALUES ('1', 'x')".to_owned()).await;
    for script in ["ALTER TABLE b ADD COLUMN more DEFAULT 7", "PRAGMA user_version = 9"] {
        let pages = bench.pages().await.unwrap();
        assert!(bench.pages().await.unwrap().suspected_since(&pages).is_some());
        bench.run(script.to_owned()).await;
        assert!(bench.pages().await.unwrap().suspected_since(&pages).is_none(), "{script}");
    }
}

/// A copy with bytes that mean something else, or cut short, ends in an answer.
#[tokio::test]
async fn a_damaged_copy_is_no_reason_to_panic_or_to_go_on_for_ever() {
    let mut bench = Bench::new(PRAGMAS[0]).await;
    let mut chance = Chance(0xdead);
    for _ in 0..12 {
        bench.run(Bench::turn(&mut chance)).await;
    }
    let (whole, roots, copy) = (bench.pages().await.unwrap(), bench.roots().await, bench.copy().await);
    let mut refused = 0;
    for _ in 0..1_000 {
        let mut bytes = copy.to_vec();
        for _ in 0..=chance.below(20) {
            // Most of what a page means stands at its beginning.
            let page = chance.below(bytes.len() / 512) * 512;
            let within = [chance.below(16), chance.below(512)][chance.below(2)];
            bytes[page + within] = u8::try_from(chance.below(256)).unwrap();
        }
        if chance.below(8) == 0 {
            bytes.truncate(1 + chance.below(copy.len()));
        }
        match Pages::of(SqliteOwnedBuf::try_from(bytes.as_slice()).unwrap(), &roots) {
            Some(damaged) => {
                damaged.suspected_since(&whole);
                whole.suspected_since(&damaged);
            }
            None => refused += 1,
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn a_number_takes_one_to_nine_bytes() {
    for (bytes, number) in [
        (&[0x05][..], 5),
        (&[0x81, 0x00], 128),
        (&[0xff; 9], u64::MAX),
        (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01], 1),
    ] {
        assert_eq!(varint(bytes, 0), Some((number, bytes.len())));
        assert_eq!(varint(&bytes[..bytes.len() - 1], 0), None);
    }
}
