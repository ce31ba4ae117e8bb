//! The header fields of a request, as they came. Of a head with thousands of them only where each
//! lies is noted: most are never looked at, and none is copied.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Header fields in the order in which they came. Names are compared without their case.
#[derive(Clone, Default)]
pub struct Fields {
    head: Bytes,
    places: Vec<Place>,
}

/// Where a field lies in its head, which has less than 4 GiB.
#[derive(Clone, Copy)]
struct Place {
    name: u32,
    name_length: u32,
    value: u32,
    value_length: u32,
}

impl Fields {
    /// The fields that httparse has found in `head`.
    pub(crate) fn of(head: &Bytes, found: &[httparse::Header<'_>]) -> Self {
        // An empty value may be anywhere.
        let start = |part: &[u8]| part.as_ptr().addr().saturating_sub(head.as_ptr().addr()) as u32;
        let places = found.iter().map(|field| Place {
            name: start(field.name.as_bytes()),
            name_length: field.name.len() as u32,
            value: if field.value.is_empty() { 0 } else { start(field.value) },
            value_length: field.value.len() as u32,
        });
        Self { head: head.clone(), places: places.collect() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The names, in the order and spelling in which they came.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.places.iter().map(|place| self.at(place.name, place.name_length))
    }

    /// The value of the first field with this name.
    #[inline]
    pub fn get(&self, name: &HeaderName) -> Option<&[u8]> {
        self.places_of(name).next().map(|at| self.value(at))
    }

    /// The values of all fields with this name.
    #[inline]
    pub fn get_all(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        self.places_of(name).map(|at| self.value(at))
    }

    /// Where the fields with this name stand, for [`value`](Self::value).
    #[inline]
    pub fn places_of(&self, name: &HeaderName) -> impl Iterator<Item = usize> {
        PlacesOf { fields: self, name: name.as_str().as_bytes(), last: &[], next: 0 }
    }

    /// The value of the field at a place below [`len`](Self::len).
    ///
    /// # Panics
    ///
    /// At a place that is not below.
    pub fn value(&self, at: usize) -> &[u8] {
        let place = self.places[at];
        self.at(place.value, place.value_length)
    }

    /// The same as a map, for those who look at all of them.
    ///
    /// # Errors
    ///
    /// More fields, or a longer name, than a map takes: 24,576 and 65,535 bytes.
    pub fn to_map(&self) -> Result<HeaderMap, TooMuch> {
        let mut map = HeaderMap::with_capacity(self.places.len().min(64));
        for (at, place) in self.places.iter().enumerate() {
            let name = HeaderName::from_bytes(self.at(place.name, place.name_length));
            let value = HeaderValue::from_bytes(self.value(at));
            let (name, value) = (name.map_err(|_| TooMuch)?, value.map_err(|_| TooMuch)?);
            map.try_append(name, value).map_err(|_| TooMuch)?;
        }
        Ok(map)
    }

    fn at(&self, start: u32, length: u32) -> &[u8] {
        &self.head[start as usize..][..length as usize]
    }
}

/// Looks for the fields of a name.
struct PlacesOf<'a, 'b> {
    fields: &'a Fields,
    name: &'b [u8],
    /// How it was spelled last: those who write a name often write it alike.
    last: &'a [u8],
    next: usize,
}

impl Iterator for PlacesOf<'_, '_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        // Most names have another length, and nothing else of them is looked at.
        while let Some(place) = self.fields.places.get(self.next) {
            self.next += 1;
            if place.name_length as usize == self.name.len() {
                let found = self.fields.at(place.name, place.name_length);
                if found == self.last || found.eq_ignore_ascii_case(self.name) {
                    self.last = found;
                    return Some(self.next - 1);
                }
            }
        }
        None
    }
}

impl From<&HeaderMap> for Fields {
    fn from(map: &HeaderMap) -> Self {
        let mut head = Vec::new();
        let mut add = |part: &[u8]| {
            let start = head.len() as u32;
            head.extend_from_slice(part);
            (start, part.len() as u32)
        };
        let places = map.iter().map(|(name, value)| {
            let (name, name_length) = add(name.as_str().as_bytes());
            let (value, value_length) = add(value.as_bytes());
            Place { name, name_length, value, value_length }
        });
        let places = places.collect();
        Self { head: head.into(), places }
    }
}

/// The fields of a request do not fit a [`HeaderMap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many or too long header fields")]
pub struct TooMuch;

/// The names: values may be secrets.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names().map(String::from_utf8_lossy)).finish()
    }
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, HOST};

    use super::*;

    fn fields(lines: &str) -> Fields {
        let head = Bytes::from(format!("GET / HTTP/1.1\r\n{lines}\r\n"));
        let mut found = [httparse::EMPTY_HEADER; 8];
        let mut request = httparse::Request::new(&mut found);
        assert!(request.parse(&head).unwrap().is_complete());
        Fields::of(&head, request.headers)
    }

    #[test]
    fn fields_are_found_by_name() {
        let name = HeaderName::from_static("x-a");
        let fields = fields("Host: h\r\nX-A: 1\r\nx-a:\r\nX-B: 2\r\nX-a:  3 \r\n");
        assert_eq!(fields.len(), 5);
        assert_eq!(fields.get(&HOST), Some(&b"h"[..]));
        assert_eq!(fields.get(&ACCEPT), None);
        assert_eq!(
            fields.names().collect::<Vec<_>>(),
            [&b"Host"[..], b"X-A", b"x-a", b"X-B", b"X-a"]
        );
        assert_eq!(fields.get_all(&name).collect::<Vec<_>>(), [&b"1"[..], b"", b"3"]);
        assert_eq!(fields.places_of(&name).collect::<Vec<_>>(), [1, 2, 4]);
        let map = fields.to_map().unwrap();
        assert_eq!(Fields::from(&map).to_map().unwrap(), map);
        assert_eq!(map.get_all(name).into_iter().collect::<Vec<_>>(), ["1", "", "3"]);
        assert_eq!(map.len(), 5);
        assert_eq!(format!("{fields:?}"), r#"["Host", "X-A", "x-a", "X-B", "X-a"]"#);
    }

    #[test]
    fn no_fields() {
        let fields = fields("");
        assert!(fields.is_empty());
        assert!(fields.to_map().unwrap().is_empty());
    }
}
