//! The newest floats as they came: row by row, a value for each series of a scrape.
//!
//! To pack a sample into the chunk of its series means to wait for memory, series by series. So the samples of a
//! scrape are kept side by side until some rows have come together, and each series is then touched once for all of
//! them. A row is as much part of the head as a chunk is: whatever reads or changes a series sees it, or has the rows
//! of its group packed first. Rows are newer than everything else that their series hold, late samples apart.

use crate::chunk::OpenChunk;
use crate::head::{Head, MemSeries};
use crate::{Sample, Timestamp};

/// As many rows are packed together: eight bytes of memory each for every series.
const ROWS_MAX: usize = 8;
/// Fewer series than these are not worth a group.
const GROUP_SERIES_MIN: usize = 4;

/// Where a series has its place in the rows.
#[derive(Copy, Clone, Debug)]
pub struct Place {
    group: u32,
    at: u32,
}

impl Place {
    /// In no group.
    pub const NONE: Place = Place { group: u32::MAX, at: 0 };
}

/// Series whose samples come together.
#[derive(Debug)]
pub struct Group {
    ids: Vec<u32>,
    /// Ascending.
    times: Vec<i64>,
    /// A row behind the other.
    values: Vec<f64>,
    /// The newest time that any of the series has beside the rows: what comes next must be newer.
    floor: i64,
}

impl Group {
    fn last(&self) -> i64 {
        self.times.last().copied().unwrap_or(i64::MIN).max(self.floor)
    }
}

/// All groups.
#[derive(Debug, Default)]
pub struct Rows {
    groups: Vec<Option<Group>>,
    free: Vec<u32>,
}

impl Rows {
    fn group(&self, place: Place) -> Option<&Group> {
        self.groups.get(place.group as usize)?.as_ref()
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        let bytes = |group: &Group| group.ids.capacity() * 4 + group.values.capacity() * 8;
        self.groups.iter().flatten().map(bytes).sum()
    }
}

/// The rows of one series.
#[derive(Copy, Clone, Debug)]
pub struct Column<'a> {
    group: &'a Group,
    at: usize,
    from: usize,
    to: usize,
}

impl<'a> Column<'a> {
    /// The times, ascending.
    pub fn times(&self) -> &'a [i64] {
        &self.group.times[self.from..self.to]
    }

    /// The values at these times.
    pub fn values(&self) -> impl Iterator<Item = f64> + use<'a> {
        let Column { group, at, .. } = *self;
        (self.from..self.to).map(move |row| group.values[row * group.ids.len() + at])
    }

    /// The newest sample.
    pub fn newest(&self) -> Option<Sample> {
        let ts = Timestamp::from_millis(*self.times().last()?);
        Some(Sample::float(ts, self.group.values[(self.to - 1) * self.group.ids.len() + self.at]))
    }
}

impl Head {
    /// The rows of a series from `start` to `end`; `None` if there are none.
    pub fn column(&self, series: &MemSeries, start: Timestamp, end: Timestamp) -> Option<Column<'_>> {
        let group = self.rows.group(series.place)?;
        let from = group.times.partition_point(|ts| *ts < start.as_millis());
        let to = group.times.partition_point(|ts| *ts <= end.as_millis());
        (from < to).then_some(Column { group, at: series.place.at as usize, from, to })
    }

    /// The newest time that a series ever had.
    pub fn last_of(&self, series: &MemSeries) -> i64 {
        let newest = self.rows.group(series.place).and_then(|group| group.times.last());
        newest.map_or(series.last, |newest| series.last.max(*newest))
    }

    /// Whether a row at `ts` for just these series fits without a look at each of them: the one before was for them
    /// too. The log knows such series.
    pub fn is_next_row(&self, ids: &[u32], ts: Timestamp) -> bool {
        self.group_of(ids).is_some_and(|group| ts.as_millis() > group.last())
    }

    fn group_of(&self, ids: &[u32]) -> Option<&Group> {
        let first = self.series.get(*ids.first()?)?;
        self.rows.group(first.place).filter(|group| group.ids == ids)
    }

    /// Adds floats of one time that have been checked: each series is there, and has nothing as new.
    pub fn push_row(&mut self, ids: &[u32], ts: Timestamp, values: &[f64]) {
        let is_next = self.is_next_row(ids, ts) || self.form_group(ids) && self.is_next_row(ids, ts);
        let first = ids.first().and_then(|id| self.series.get(*id));
        let Some(place) = first.filter(|_| is_next).map(|first| first.place) else {
            for (id, value) in ids.iter().zip(values) {
                self.push(*id, &Sample::float(ts, *value));
            }
            return;
        };
        let group = self.rows.groups[place.group as usize].as_mut().expect("it was found above");
        if group.values.is_empty() {
            group.values.reserve_exact(ROWS_MAX * ids.len());
        }
        group.times.push(ts.as_millis());
        group.values.extend_from_slice(values);
        let is_full = group.times.len() >= ROWS_MAX;
        self.samples += ids.len() as u64;
        self.max_time = self.max_time.max(ts.as_millis());
        if is_full {
            self.pack(place);
        }
    }

    /// Makes a group of these series; `false` if they are few, or one of them is not there or there twice.
    fn form_group(&mut self, ids: &[u32]) -> bool {
        if ids.len() < GROUP_SERIES_MIN {
            return false;
        }
        for id in ids {
            let Some(series) = self.series.get(*id) else { return false };
            self.dissolve(series.place);
        }
        let number = self.rows.free.pop().unwrap_or(self.rows.groups.len() as u32);
        let mut floor = i64::MIN;
        let mut formed = 0;
        for (at, id) in ids.iter().enumerate() {
            let Some(series) = self.series.get_mut(*id) else { break };
            if series.place.group == number {
                break;
            }
            series.place = Place { group: number, at: at as u32 };
            floor = floor.max(series.last);
            formed += 1;
        }
        let group = Group { ids: ids[..formed].to_vec(), times: Vec::new(), values: Vec::new(), floor };
        if number as usize == self.rows.groups.len() {
            self.rows.groups.push(None);
        }
        self.rows.groups[number as usize] = Some(group);
        if formed < ids.len() {
            self.dissolve(Place { group: number, at: 0 });
        }
        formed == ids.len()
    }

    /// Moves the rows of a group into the chunks of its series.
    pub fn pack(&mut self, place: Place) {
        let Some(Some(group)) = self.rows.groups.get_mut(place.group as usize) else { return };
        if group.times.is_empty() {
            return;
        }
        let (times, values) = (std::mem::take(&mut group.times), std::mem::take(&mut group.values));
        let ids = std::mem::take(&mut group.ids);
        for (at, id) in ids.iter().enumerate() {
            self.pack_column(*id, &times, || values[at..].iter().step_by(ids.len()));
        }
        let Some(Some(group)) = self.rows.groups.get_mut(place.group as usize) else { return };
        group.floor = group.floor.max(times.last().copied().unwrap_or(i64::MIN));
        (group.ids, group.times, group.values) = (ids, times, values);
        group.times.clear();
        group.values.clear();
        if group.values.capacity() > ROWS_MAX * group.ids.len() {
            group.values = Vec::new(); // After a start, that held more.
        }
    }

    fn pack_column<'a, I: Iterator<Item = &'a f64>>(
        &mut self,
        id: u32,
        times: &[i64],
        values: impl Fn() -> I,
    ) {
        let samples_max = self.chunk_samples;
        let Some(series) = self.series.get_mut(id) else { return };
        series.is_idle = false;
        for (ts, value) in times.iter().zip(values()) {
            series.last = series.last.max(*ts);
            if let Some(open) = &mut series.open {
                if open.push_float(*ts, *value, samples_max) {
                    continue;
                }
                let chunk = open.seal();
                self.chunks += 1;
                self.chunk_bytes += chunk.memory_bytes();
                series.chunks.push(chunk.into());
            }
            let sample = Sample::float(Timestamp::from_millis(*ts), *value);
            series.open = Some(Box::new(OpenChunk::new(&sample)));
        }
    }

    /// Adds floats that are newer than everything a series has; `false` if they are not, or there is no such series.
    pub fn pack_behind<'a, I: Iterator<Item = &'a f64>>(
        &mut self,
        id: u32,
        times: &[i64],
        values: impl Fn() -> I,
    ) -> bool {
        let (Some(series), Some(first), Some(last)) = (self.series.get(id), times.first(), times.last())
        else {
            return false;
        };
        if self.last_of(series) >= *first {
            return false;
        }
        self.pack_before(id, *last);
        self.pack_column(id, times, values);
        self.samples += times.len() as u64;
        self.max_time = self.max_time.max(*last);
        true
    }

    /// Puts rows that were read from the log back as they are; gives them back if they do not fit.
    pub fn restore_rows(
        &mut self,
        ids: Vec<u32>,
        times: Vec<i64>,
        values: Vec<f64>,
    ) -> Result<(), (Vec<i64>, Vec<f64>)> {
        let (Some(first), Some(last)) = (times.first(), times.last().copied()) else { return Ok(()) };
        if !self.is_next_row(&ids, Timestamp::from_millis(*first))
            && !(self.form_group(&ids) && self.is_next_row(&ids, Timestamp::from_millis(*first)))
        {
            return Err((times, values));
        }
        let place = self.series[ids[0]].place;
        self.pack(place);
        let group = self.rows.groups[place.group as usize].as_mut().expect("it was found above");
        self.samples += values.len() as u64;
        self.max_time = self.max_time.max(last);
        (group.times, group.values) = (times, values);
        Ok(())
    }

    /// Packs what the group of a series holds, since the series gets a sample at `ts` on its own.
    pub fn pack_before(&mut self, id: u32, ts: i64) {
        let Some(place) = self.series.get(id).map(|series| series.place) else { return };
        self.pack(place);
        self.raise_floor(id, ts);
    }

    /// Takes note that a series has something at `ts` beside its rows.
    pub fn raise_floor(&mut self, id: u32, ts: i64) {
        let Some(place) = self.series.get(id).map(|series| series.place) else { return };
        if let Some(Some(group)) = self.rows.groups.get_mut(place.group as usize) {
            group.floor = group.floor.max(ts);
        }
    }

    /// Packs all rows.
    pub fn pack_all(&mut self) {
        for group in 0..self.rows.groups.len() as u32 {
            self.pack(Place { group, at: 0 });
        }
    }

    /// Packs the rows of a group and forgets that its series belong together.
    pub fn dissolve(&mut self, place: Place) {
        self.pack(place);
        let Some(group) = self.rows.groups.get_mut(place.group as usize).and_then(Option::take) else {
            return;
        };
        for id in group.ids {
            if let Some(series) = self.series.get_mut(id) {
                series.place = Place::NONE;
            }
        }
        self.rows.free.push(place.group);
    }
}
