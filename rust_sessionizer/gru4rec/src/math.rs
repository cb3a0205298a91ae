//! Elementary functions without branches, which the compiler turns into vector code.

/// e^x to 2 units in the last place; x is clamped to ±87, where the result is as good as 0 or infinity.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 87.0 { 87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let rest = (x - whole * 0.693_359_4) + whole * 2.121_944_4e-4; // ln 2 in two parts, the first one exact
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000)); // 2^whole
    // Cephes' polynomial (Moshier).
    let mut sum = 1.987_569_1e-4;
    sum = sum * rest + 1.398_199_9e-3;
    sum = sum * rest + 8.333_452e-3;
    sum = sum * rest + 4.166_579_6e-2;
    sum = sum * rest + 1.666_666_6e-1;
    sum = sum * rest + 5e-1;
    (sum * (rest * rest) + rest + 1.0) * power
}

/// 1 / (1 + e^-x)
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The hyperbolic tangent, to 2e-7 absolute.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (1.0 + exp(2.0 * x))
}

/// 1 / sqrt(x) of a positive normal x to 2 units in the last place, faster than a root and a division.
#[inline(always)]
pub(crate) fn inverse_root(x: f32) -> f32 {
    let half = 0.5 * x;
    let mut root = f32::from_bits(0x5f37_59df_u32.wrapping_sub(x.to_bits() >> 1));
    // Newton's method: relative errors 3e-2, 2e-3, 5e-6, below rounding.
    root *= 1.5 - half * root * root;
    root *= 1.5 - half * root * root;
    root *= 1.5 - half * root * root;
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::cast_possible_truncation)]
    fn functions_agree_with_double_precision() {
        for step in -80_000..=80_000_i32 {
            let x = f64::from(step) * 1e-3;
            let close = |found: f32, expected: f64, tolerance: f64| {
                assert!((f64::from(found) - expected).abs() <= tolerance, "{x}: {found} for {expected}");
            };
            let x32 = x as f32;
            let x = f64::from(x32);
            close(exp(x32), x.exp(), 3e-7 * x.exp());
            close(sigmoid(x32), 1.0 / (1.0 + (-x).exp()), 3e-7 / (1.0 + (-x).exp()));
            close(tanh(x32), x.tanh(), 3e-7);
            if x > 0.0 {
                close(inverse_root(x32), 1.0 / x.sqrt(), 3e-7 / x.sqrt());
            }
        }
        for exponent in -19..=30 {
            let x = 10.0_f32.powi(exponent);
            assert!((f64::from(inverse_root(x)) * f64::from(x).sqrt() - 1.0).abs() < 3e-7, "{x}");
        }
    }

    #[test]
    fn far_arguments_stay_finite() {
        for x in [-1e30, -200.0, 200.0, 1e30] {
            assert!(exp(x).is_finite() && sigmoid(x).is_finite() && tanh(x).is_finite());
        }
    }
}
