//! p
use sessionizer_core::*;
use std::time::Instant;
fn cpu() -> (u64, u64) {
    let t = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = t.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<u64>().unwrap() * 10, f[12].parse::<u64>().unwrap() * 10)
}
fn main() {
    let n: usize = 10_000_000;
    let mut s: u64 = 1;
    let mut next = move || {
        s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        s >> 20
    };
    let mut keys = Vec::new();
    let mut times = Vec::new();
    let mut t = 1430622000000i64;
    let mut recent: Vec<i64> = vec![0; 2000];
    let mut nv = 0i64;
    for _ in 0..n {
        t += (next() % 2400) as i64;
        let slot = (next() % 2000) as usize;
        let k = if next() % 100 < 51 {
            nv += 1;
            recent[slot] = nv * 2654435761 % (1 << 40);
            recent[slot]
        } else {
            recent[slot]
        };
        keys.push(k);
        times.push(t);
    }
    for th in [1usize, 2] {
        for _ in 0..3 {
            let c = cpu();
            let a = Instant::now();
            let r = with_threads(Some(th), || {
                sessionize(&Events { keys: &keys, times: &times, gap: Some(1_800_000), keep: None, drop_repeats: None })
                    .unwrap()
            })
            .unwrap();
            let b = a.elapsed();
            let d = cpu();
            println!("core cpu user {} sys {}", d.0 - c.0, d.1 - c.1);
            let g = with_threads(Some(th), || (gather(&times, &r.rows), gather(&keys, &r.rows))).unwrap();
            println!("{th} core {:?} gather {:?} sessions {} {}", b, a.elapsed() - b, r.heads.len(), g.0.len());
        }
    }
}
