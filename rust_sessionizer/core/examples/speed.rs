//! scratch
use sessionizer_core::*;
use std::time::Instant;

fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    let _ = s;
    let mut ns = 0.0;
    for t in std::fs::read_dir("/proc/self/task").unwrap() {
        let s = std::fs::read_to_string(t.unwrap().path().join("schedstat")).unwrap();
        ns += s.split(' ').next().unwrap().parse::<f64>().unwrap();
    }
    ns / 1e6
}

fn rng(seed: u64) -> impl FnMut() -> u64 {
    let mut s = seed;
    move || {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        s
    }
}

fn main() {
    let n: usize = std::env::args().nth(1).map_or(10_000_000, |a| a.parse::<f64>().unwrap() as usize);
    let shuffled = std::env::args().nth(2).is_some_and(|a| a == "s");
    let threads: usize = std::env::args().nth(3).map_or(2, |a| a.parse().unwrap());
    let mut r = rng(88172645463325252);
    let mut f = move || (r() >> 11) as f64 / (1u64 << 53) as f64;
    let visitors = n as f64 * 0.51;
    let mut ev: Vec<(i64, i64, i64)> = Vec::with_capacity(n);
    let mut k = 0u64;
    while ev.len() < n {
        let v = if (k as f64) < visitors { k } else { (visitors * f().powi(3)) as u64 };
        k += 1;
        let id = (v.wrapping_mul(0x9E3779B97F4A7C15) >> 38) as i64; // sparse-ish id
        let mut t = 1_430_622_000_000 + (f() * 138.0 * 86_400_000.0) as i64;
        loop {
            ev.push((t, id, (235_061.0 * f() * f()) as i64));
            if f() < 1.0 / 1.57 {
                break;
            }
            t += (-f().ln() * 90_000.0) as i64;
        }
    }
    ev.truncate(n);
    if shuffled {
        for i in (1..n).rev() {
            let j = (f() * (i + 1) as f64) as usize;
            ev.swap(i, j);
        }
    } else {
        ev.sort_by_key(|e| e.0);
    }
    let keys: Vec<i64> = ev.iter().map(|e| e.1).collect();
    let times: Vec<i64> = ev.iter().map(|e| e.0).collect();
    let items: Vec<i64> = ev.iter().map(|e| e.2).collect();
    drop(ev);
    for _ in 0..5 {
        let t0 = Instant::now();
        let c: Vec<i64> = with_threads(Some(threads), || keys.clone()).unwrap();
        let c2: Vec<i64> = keys.clone();
        let tc = t0.elapsed();
        drop((c, c2));
        let c0 = cpu();
        let t0 = Instant::now();
        with_threads(Some(threads), || {
            let ev = Events { keys: &keys[..], times: &times, gap: Some(1_800_000), keep: None, drop_repeats: None };
            let l = list_sessions(&ev, &items).unwrap();
            let t1 = t0.elapsed(); let c1 = cpu();
            let sum = l.items[n / 2] ^ l.times[n / 3] ^ l.keys[5];
            let s = l.keys.len();
            drop(l);
            let t2 = t0.elapsed(); let c2 = cpu();
            let x = number_sessions(&ev).unwrap();
            let t3 = t0.elapsed(); let c3 = cpu();
            eprintln!("CPU ms lists {:.0} drop {:.0} numbers {:.0} copy {tc:?} lists {t1:?} {:.1} M/s drop {:?} numbers {:?} {:.1} M/s  sessions {s} {sum} {}", c1-c0, c2-c1, c3-c2, n as f64 / t1.as_secs_f64() / 1e6, t2 - t1, t3 - t2, n as f64 / (t3 - t2).as_secs_f64() / 1e6, x[n/2]);
        }).unwrap();
        eprintln!("with drops {:?}", t0.elapsed());
    }
}
