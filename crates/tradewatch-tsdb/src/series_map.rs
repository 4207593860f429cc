//! Series by id: pages of neighbours, since a scrape touches the series of a target one after the other.
//!
//! Ids ascend and are never given twice, so that the pages of what is long gone become empty and go.

use std::ops::Index;

use crate::head::MemSeries;

/// Series in a page.
const PAGE: usize = 128;

type Page = [Option<MemSeries>; PAGE];

/// A map from ids to series, in ascending order.
#[derive(Debug, Default)]
pub struct SeriesMap {
    pages: Vec<Option<Box<Page>>>,
    len: usize,
}

fn place(id: u32) -> (usize, usize) {
    (id as usize / PAGE, id as usize % PAGE)
}

impl SeriesMap {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, id: u32) -> Option<&MemSeries> {
        let (page, slot) = place(id);
        self.pages.get(page)?.as_ref()?[slot].as_ref()
    }

    pub fn get_mut(&mut self, id: u32) -> Option<&mut MemSeries> {
        let (page, slot) = place(id);
        self.pages.get_mut(page)?.as_mut()?[slot].as_mut()
    }

    pub fn contains(&self, id: u32) -> bool {
        self.get(id).is_some()
    }

    /// Adds a series, in place of one with the same id.
    pub fn insert(&mut self, id: u32, series: MemSeries) {
        let (page, slot) = place(id);
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, || None);
        }
        let page = self.pages[page].get_or_insert_with(|| Box::new([const { None }; PAGE]));
        self.len += usize::from(page[slot].replace(series).is_none());
    }

    pub fn remove(&mut self, id: u32) {
        let (at, slot) = place(id);
        let Some(Some(page)) = self.pages.get_mut(at) else { return };
        self.len -= usize::from(page[slot].take().is_some());
        if page.iter().all(Option::is_none) {
            self.pages[at] = None;
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &MemSeries)> {
        self.pages.iter().enumerate().flat_map(|(page, slots)| {
            let slots = slots.as_deref().map(|slots| slots.as_slice()).unwrap_or_default();
            let known = slots.iter().enumerate();
            known.filter_map(move |(slot, series)| Some(((page * PAGE + slot) as u32, series.as_ref()?)))
        })
    }

    pub fn values(&self) -> impl Iterator<Item = &MemSeries> {
        self.iter().map(|(_, series)| series)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut MemSeries)> {
        self.pages.iter_mut().enumerate().flat_map(|(page, slots)| {
            let slots = slots.as_deref_mut().map(|slots| slots.as_mut_slice()).unwrap_or_default();
            let known = slots.iter_mut().enumerate();
            known.filter_map(move |(slot, series)| Some(((page * PAGE + slot) as u32, series.as_mut()?)))
        })
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut MemSeries> {
        self.iter_mut().map(|(_, series)| series)
    }
}

impl Index<u32> for SeriesMap {
    type Output = MemSeries;

    fn index(&self, id: u32) -> &MemSeries {
        self.get(id).expect("the index names series that are there")
    }
}
