//! Functions of instant vectors and scalars.

use tradewatch_tsdb::{Labels, Timestamp, Value};

use super::over_time::labels_of_absent;
use super::{Evaluator, Out};
use crate::ast::*;
use crate::engine::{EvalError, Result};
use crate::frame::{Frame, Grid, is_absent};

impl Evaluator<'_> {
    pub fn call(&mut self, call: &Call, expr: &Expr, grid: &Grid) -> Result<Out> {
        let name = call.function.name;
        if call.args.iter().any(|arg| arg.value_type() == ValueType::Matrix) {
            return self.over_time(call, grid);
        }
        if let Some(function) = float_function(name) {
            return self.map_floats(&call.args[0], grid, |_, value| function(value));
        }
        if let Some(part) = time_part(name) {
            return self.time_parts(call, grid, part);
        }
        let (start, end, step) = self.query;
        let constant = |value: f64| Ok(Out::Scalar(vec![value; grid.steps]));
        match name {
            "time" => Ok(Out::Scalar((0..grid.steps).map(|s| grid.at(s) as f64 / 1000.0).collect())),
            "pi" => constant(std::f64::consts::PI),
            "start" => constant(start as f64 / 1000.0),
            "end" => constant(end as f64 / 1000.0),
            "range" => constant((end - start) as f64 / 1000.0),
            "step" => constant(if start == end { 0.0 } else { step as f64 / 1000.0 }),
            "min_of" | "max_of" => {
                let (a, b) = (self.scalar(&call.args[0], grid)?, self.scalar(&call.args[1], grid)?);
                let pick = if name == "min_of" { go_min } else { go_max };
                Ok(Out::Scalar(a.into_iter().zip(b).map(|(x, y)| pick(x, y)).collect()))
            }
            "scalar" => self.scalar_of(&call.args[0], grid),
            "vector" => {
                let values = self.scalar(&call.args[0], grid)?;
                let mut frame = Frame::new(grid.steps);
                frame.push(Labels::empty(), false);
                frame.floats_mut(0).copy_from_slice(&values);
                Ok(Out::Vector(frame))
            }
            "absent" => self.absent(&call.args[0], grid),
            "round" => {
                let nearest = match call.args.get(1) {
                    Some(arg) => self.scalar(arg, grid)?,
                    None => vec![1.0; grid.steps],
                };
                self.map_floats(&call.args[0], grid, |step, value| {
                    let inverse = 1.0 / nearest[step];
                    (value * inverse + 0.5).floor() / inverse
                })
            }
            "clamp" | "clamp_min" | "clamp_max" => self.clamp(call, grid),
            "timestamp" | "start_timestamp" => self.timestamps(call, grid),
            "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => self.sort(call, expr.span, grid),
            "label_replace" => self.label_replace(call, grid),
            "label_join" => self.label_join(call, grid),
            "info" => self.info(call, grid),
            _ if name.starts_with("histogram_") => self.histogram_function(call, grid),
            _ => Err(EvalError::data(format!("function {name} is not known to the evaluator"))),
        }
    }

    fn map_floats(&mut self, arg: &Expr, grid: &Grid, function: impl Fn(usize, f64) -> f64) -> Result<Out> {
        let mut frame = self.vector(arg, grid)?;
        if frame.has_histograms() {
            frame.drop_histograms();
            frame.drop_empty_rows();
        }
        for row in 0..frame.len() {
            for (step, value) in frame.floats_mut(row).iter_mut().enumerate() {
                if !is_absent(*value) {
                    *value = function(step, *value);
                }
            }
        }
        self.drop_names(&mut frame)?;
        Ok(Out::Vector(frame))
    }

    fn scalar_of(&mut self, arg: &Expr, grid: &Grid) -> Result<Out> {
        let frame = self.vector(arg, grid)?;
        let single = |step: usize| {
            let mut floats = (0..frame.len()).map(|row| frame.floats(row)[step]).filter(|&v| !is_absent(v));
            match (floats.next(), floats.next()) {
                (Some(value), None) => value,
                _ => f64::NAN,
            }
        };
        Ok(Out::Scalar((0..grid.steps).map(single).collect()))
    }

    fn absent(&mut self, arg: &Expr, grid: &Grid) -> Result<Out> {
        let input = self.vector(arg, grid)?;
        let mut frame = Frame::new(grid.steps);
        frame.push(labels_of_absent(arg), false);
        for step in 0..grid.steps {
            if !(0..input.len()).any(|row| input.is_present(row, step)) {
                frame.set_float(0, step, 1.0);
            }
        }
        frame.drop_empty_rows();
        Ok(Out::Vector(frame))
    }

    fn clamp(&mut self, call: &Call, grid: &Grid) -> Result<Out> {
        let name = call.function.name;
        let bound = |evaluator: &mut Self, at: usize| evaluator.scalar(&call.args[at], grid);
        let (low, high) = match name {
            "clamp" => (bound(self, 1)?, bound(self, 2)?),
            "clamp_min" => (bound(self, 1)?, vec![f64::INFINITY; grid.steps]),
            _ => (vec![f64::NEG_INFINITY; grid.steps], bound(self, 1)?),
        };
        let crossed = low.iter().zip(&high).any(|(low, high)| high < low);
        let out =
            self.map_floats(&call.args[0], grid, |step, value| go_max(low[step], go_min(high[step], value)))?;
        let Out::Vector(mut frame) = out else { return Ok(out) };
        if crossed {
            for step in (0..grid.steps).filter(|&step| high[step] < low[step]) {
                (0..frame.len()).for_each(|row| frame.clear(row, step));
            }
            frame.drop_empty_rows();
        }
        Ok(Out::Vector(frame))
    }

    /// When the samples of a vector were taken, or when what they count began.
    fn timestamps(&mut self, call: &Call, grid: &Grid) -> Result<Out> {
        let starts = call.function.name == "start_timestamp";
        let arg = call.args[0].unparen();
        let mut frame = match &arg.kind {
            ExprKind::Vector(v) if starts && !self.options.start_timestamps => {
                self.vector_selector(v, arg.span, grid)?;
                Frame::new(grid.steps)
            }
            ExprKind::Vector(v) => {
                let reference = self.reference(&v.offset, v.at, arg.span)?;
                self.current_samples(&v.matchers, reference, grid, |sample| {
                    let ts = if starts {
                        sample.start.map_or(0, Timestamp::as_millis)
                    } else {
                        sample.ts.as_millis()
                    };
                    Value::Float(ts as f64 / 1000.0)
                })?
            }
            _ => {
                let mut frame = self.vector(arg, grid)?;
                if starts {
                    frame = Frame::new(grid.steps);
                }
                for row in 0..frame.len() {
                    for step in 0..grid.steps {
                        if frame.is_present(row, step) {
                            frame.clear(row, step);
                            frame.set_float(row, step, grid.at(step) as f64 / 1000.0);
                        }
                    }
                }
                frame
            }
        };
        self.drop_names(&mut frame)?;
        Ok(Out::Vector(frame))
    }

    fn time_parts(&mut self, call: &Call, grid: &Grid, part: fn(&Civil) -> i64) -> Result<Out> {
        let Some(arg) = call.args.first() else {
            let mut frame = Frame::new(grid.steps);
            frame.push(Labels::empty(), false);
            for step in 0..grid.steps {
                frame.set_float(0, step, part(&Civil::of(grid.at(step).div_euclid(1000))) as f64);
            }
            return Ok(Out::Vector(frame));
        };
        self.map_floats(arg, grid, |_, value| part(&Civil::of(whole_seconds(value))) as f64)
    }
}

/// The smaller of two, NaN if either is, as Go has it.
fn go_min(x: f64, y: f64) -> f64 {
    if x.is_nan() || y.is_nan() { f64::NAN } else { x.min(y) }
}

fn go_max(x: f64, y: f64) -> f64 {
    if x.is_nan() || y.is_nan() { f64::NAN } else { x.max(y) }
}

/// The logarithm by way of the exponent, as Go computes it, so that the last digit agrees with Prometheus.
fn log2(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return value.log2();
    }
    // Numbers below the normal ones are scaled up first.
    let (scaled, shift) = if value < f64::MIN_POSITIVE { (value * 2f64.powi(54), 54) } else { (value, 0) };
    let exponent = ((scaled.to_bits() >> 52) as i64 - 1022 - shift) as f64;
    let fraction = f64::from_bits((scaled.to_bits() & !(0x7ff << 52)) | (1022 << 52));
    if fraction == 0.5 { exponent - 1.0 } else { fraction.ln() * (1.0 / std::f64::consts::LN_2) + exponent }
}

/// A sample value as seconds. What is no such number becomes the least one, as in Go.
fn whole_seconds(value: f64) -> i64 {
    if value >= -(2f64.powi(63)) && value < 2f64.powi(63) { value as i64 } else { i64::MIN }
}

fn float_function(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => f64::exp,
        "sqrt" => f64::sqrt,
        "ln" => f64::ln,
        "log2" => log2,
        "log10" => |v| log2(v) * (std::f64::consts::LN_2 / std::f64::consts::LN_10),
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        "rad" => |v| v * std::f64::consts::PI / 180.0,
        "deg" => |v| v * 180.0 / std::f64::consts::PI,
        "sgn" => |v| {
            if v > 0.0 {
                1.0
            } else if v < 0.0 {
                -1.0
            } else {
                v
            }
        },
        _ => return None,
    })
}

fn time_part(name: &str) -> Option<fn(&Civil) -> i64> {
    Some(match name {
        "days_in_month" => |c| c.days_in_month(),
        "day_of_month" => |c| c.day,
        "day_of_week" => |c| (c.days + 4).rem_euclid(7),
        "day_of_year" => |c| c.days - days_from_civil(c.year, 1, 1) + 1,
        "hour" => |c| c.second_of_day / 3600,
        "minute" => |c| c.second_of_day / 60 % 60,
        "month" => |c| c.month,
        "year" => |c| c.year,
        _ => return None,
    })
}

/// A time as the calendar and the clock show it in UTC.
struct Civil {
    days: i64,
    second_of_day: i64,
    year: i64,
    month: i64,
    day: i64,
}

impl Civil {
    /// From seconds since the Unix epoch, in the proleptic Gregorian calendar. Go counts seconds from a year far in the
    /// past without a sign, so what lies before that comes out at the far end.
    fn of(seconds: i64) -> Civil {
        const EPOCH: u64 = 9_223_372_028_715_321_600;
        let seconds = i128::from((seconds as u64).wrapping_add(EPOCH)) - i128::from(EPOCH);
        let days = seconds.div_euclid(86_400) as i64;
        // Years begin in March here, so that the leap day is the last of its year.
        let since = days + 719_468;
        let (era, day_of_era) = (since.div_euclid(146_097), since.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_index = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_index + 2) / 5 + 1;
        let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Civil { days, second_of_day: seconds.rem_euclid(86_400) as i64, year, month, day }
    }

    fn days_in_month(&self) -> i64 {
        let (year, month) = if self.month == 12 { (self.year + 1, 1) } else { (self.year, self.month + 1) };
        days_from_civil(year, month, 1) - days_from_civil(self.year, self.month, 1)
    }
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}
