#![allow(missing_docs)]
use gru4rec::*;
fn main() {
    let threads: Vec<usize> = vec![1];
    let (items, b, h, n) =
        (std::env::args().nth(1).map_or(37000usize, |a| a.parse().unwrap()), 80usize, 224usize, 2048usize);
    let steps = 512usize;
    let mut x = 12345u64;
    let mut rnd = move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    };
    let inputs: Vec<i64> = (0..steps * b)
        .map(|_| {
            let u = (rnd() % 1000000) as f64 / 1e6;
            (u * u * items as f64) as i64
        })
        .collect();
    let targets: Vec<i64> = (0..steps * b)
        .map(|_| {
            let u = (rnd() % 1000000) as f64 / 1e6;
            (u * u * items as f64) as i64
        })
        .collect();
    let resets: Vec<bool> = (0..steps * b).map(|_| rnd() % 4 == 0).collect();
    let lanes: Vec<i32> = (0..steps * b).map(|i| (i % b) as i32).collect();
    let st: Vec<i64> = (0..=steps).map(|s| (s * b) as i64).collect();
    let counts: Vec<i64> = (0..items).map(|_| 1 + (rnd() % 50) as i64).collect();
    for &t in &threads {
        let schedule = Schedule::new(&inputs, &targets, resets.clone(), lanes.clone(), &st, items).unwrap();
        let settings = Settings {
            layers: vec![h],
            embedding: Embedding::Shared,
            loss: Loss::BprMax { bpreg: 1.95, elu: 0.5 },
            batch_size: b,
            dropout_embedding: 0.5,
            dropout_hidden: 0.05,
            learning_rate: 0.05,
            momentum: 0.4,
            n_sample: n,
            sample_alpha: 0.4,
            seed: 1,
        };
        let mut tr = Trainer::new(settings, schedule, &counts, t).unwrap();
        tr.measure(true);
        let sizes = [items * h, items, 3 * h * h, 3 * h * h, 3 * h, 3 * h];
        let mut seedr = 9u64;
        let mut u = move || {
            seedr ^= seedr << 13;
            seedr ^= seedr >> 7;
            seedr ^= seedr << 17;
            (seedr % 2000) as f32 / 1e4 - 0.1
        };
        let mut v: Vec<Vec<f32>> = sizes
            .iter()
            .enumerate()
            .map(|(i, &s)| (0..s).map(|_| if i == 1 || i > 3 { 0.0 } else { u() }).collect())
            .collect();
        let mut a: Vec<Vec<f32>> = sizes.iter().map(|&s| vec![0.0; s]).collect();
        let mut m = a.clone();
        let mut state = vec![0f32; b * h];
        let mut best = f64::MAX;
        let mut bc = f64::MAX;
        for rep in 0..4 {
            let mut l: Vec<Learned> = v
                .iter_mut()
                .zip(a.iter_mut())
                .zip(m.iter_mut())
                .map(|((v, a), m)| Learned { value: v, accumulator: a, velocity: m })
                .collect();
            let bh = l.pop().unwrap();
            let bi = l.pop().unwrap();
            let wh = l.pop().unwrap();
            let wi = l.pop().unwrap();
            let ib = l.pop().unwrap();
            let it = l.pop().unwrap();
            let mut arrays = Arrays {
                item_table: it,
                item_bias: ib,
                input_table: None,
                layers: vec![LayerArrays {
                    weight_input: Some(wi),
                    weight_hidden: wh,
                    bias_input: bi,
                    bias_hidden: bh,
                }],
            };
            for blk in 0..steps / 128 {
                let t0 = std::time::Instant::now();
                let c0 = cpu();
                let loss = tr
                    .run(&mut arrays, &mut [&mut state], blk * 128, blk * 128 + 128, (rep * steps + blk * 128) as u64)
                    .unwrap();
                bc = bc.min(cpu() - c0);
                let e = t0.elapsed().as_secs_f64();
                best = best.min(e);
                if blk == 3 {
                    println!("loss {:.6}", loss / 128.0);
                }
            }
        }
        println!("threads {t}: {:.1} steps/s best block, cpu {:.3} ms/step", 128.0 / best, bc * 1e3 / 128.0);
        for (n, d) in PHASES.iter().zip(tr.profile().unwrap()) {
            println!("   {n:20} {:.3} ms", d.as_secs_f64() * 1e3 / 2048.0);
        }
    }
}

fn cpu() -> f64 {
    let s = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    let a: f64 = s.split(' ').next().unwrap().parse().unwrap();
    a / 1e9
}
