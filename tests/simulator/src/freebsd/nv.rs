// SPDX-License-Identifier: BSD-2-Clause
//! Packed nvlists (nv(9)), which ifconfig(8) and the kernel exchange.

use crate::freebsd::native as sys;
use std::ffi::{CStr, CString};

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// No value.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(u64),
    /// A string.
    String(CString),
    /// Bytes.
    Binary(Vec<u8>),
    /// A list.
    List(Box<List>),
}

/// Named values.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct List {
    /// The values with their names, in order.
    pub pairs: Vec<(CString, Value)>,
}

const LIST_MAGIC: u8 = 0x6c;
const LIST_HEADER: usize = 19;
const PAIR_HEADER: usize = 19;
/// `NV_TYPE_NVLIST_UP`: the end of a list within a list.
const UP: u8 = 255;
/// `NV_NAME_MAX`
const NAME_MAX: usize = 2048;

impl Value {
    fn kind(&self) -> u8 {
        let kind = match self {
            Value::Null => sys::NV_TYPE_NULL,
            Value::Bool(_) => sys::NV_TYPE_BOOL,
            Value::Number(_) => sys::NV_TYPE_NUMBER,
            Value::String(_) => sys::NV_TYPE_STRING,
            Value::Binary(_) => sys::NV_TYPE_BINARY,
            Value::List(_) => sys::NV_TYPE_NVLIST,
        };
        kind as u8
    }

    /// The length in the header of the pair.
    fn len(&self) -> usize {
        match self {
            Value::Null => 0,
            Value::Bool(_) => 1,
            Value::Number(_) => 8,
            Value::String(text) => text.as_bytes_with_nul().len(),
            Value::Binary(bytes) => bytes.len(),
            Value::List(list) => list.len(),
        }
    }
}

impl List {
    /// Adds a value, even if the list already has that name.
    pub fn with(mut self, name: &str, value: Value) -> List {
        self.pairs.push((CString::new(name).expect("a name without zeroes"), value));
        self
    }

    /// The value of that name.
    pub fn get(&self, name: &CStr) -> Option<&Value> {
        self.pairs.iter().find(|(other, _)| other.as_c_str() == name).map(|(_, value)| value)
    }

    /// The number of that name.
    pub fn number(&self, name: &CStr) -> Option<u64> {
        match self.get(name) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// The length of the packed list without its end.
    fn len(&self) -> usize {
        let pairs = self.pairs.iter().map(|(name, value)| {
            let end = if matches!(value, Value::List(_)) { PAIR_HEADER + 1 } else { 0 };
            PAIR_HEADER + name.as_bytes_with_nul().len() + value.len() + end
        });
        LIST_HEADER + pairs.sum::<usize>()
    }

    /// Packs the list.
    pub fn pack(&self) -> Vec<u8> {
        let total = self.len();
        let mut bytes = Vec::with_capacity(total);
        self.pack_into(&mut bytes, total);
        bytes
    }

    fn pack_into(&self, bytes: &mut Vec<u8>, total: usize) {
        let left = total - bytes.len() - LIST_HEADER;
        bytes.extend([LIST_MAGIC, 0, 0]);
        bytes.extend(0u64.to_le_bytes());
        bytes.extend((left as u64).to_le_bytes());
        for (name, value) in &self.pairs {
            pack_header(bytes, value.kind(), name, value.len());
            match value {
                Value::Null => {}
                Value::Bool(value) => bytes.push(u8::from(*value)),
                Value::Number(number) => bytes.extend(number.to_le_bytes()),
                Value::String(text) => bytes.extend(text.as_bytes_with_nul()),
                Value::Binary(value) => bytes.extend(value),
                Value::List(list) => {
                    list.pack_into(bytes, total);
                    pack_header(bytes, UP, c"", 0);
                }
            }
        }
    }

    /// Unpacks a list. Returns `None` if anything in its structure is wrong.
    pub fn unpack(bytes: &[u8]) -> Option<List> {
        let mut reader = Reader { rest: bytes };
        let list = reader.list(false)?;
        reader.rest.is_empty().then_some(list)
    }
}

fn pack_header(bytes: &mut Vec<u8>, kind: u8, name: &CStr, len: usize) {
    bytes.push(kind);
    bytes.extend((name.to_bytes_with_nul().len() as u16).to_le_bytes());
    bytes.extend((len as u64).to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(name.to_bytes_with_nul());
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn list(&mut self, is_inner: bool) -> Option<List> {
        let [magic, version, flags] = *self.take(3)? else { return None };
        let (descriptors, size) = (self.number()?, self.number()?);
        if magic != LIST_MAGIC
            || version != 0
            || flags != 0
            || descriptors != 0
            || size != self.rest.len() as u64
        {
            return None;
        }
        let mut list = List::default();
        while !self.rest.is_empty() {
            let (kind, name, len) = self.pair()?;
            if kind == UP {
                return is_inner.then_some(list);
            }
            let value = self.value(kind, len)?;
            if list.get(&name).is_some() {
                return None;
            }
            list.pairs.push((name, value));
        }
        (!is_inner).then_some(list)
    }

    fn pair(&mut self) -> Option<(u8, CString, usize)> {
        let kind = self.take(1)?[0];
        let name_len = usize::from(u16::from_le_bytes(self.take(2)?.try_into().ok()?));
        let len = usize::try_from(self.number()?).ok()?;
        let _items = self.number()?;
        if name_len > NAME_MAX {
            return None;
        }
        let name = CStr::from_bytes_with_nul(self.take(name_len)?).ok()?.to_owned();
        (len <= self.rest.len()).then_some((kind, name, len))
    }

    fn value(&mut self, kind: u8, len: usize) -> Option<Value> {
        match (u32::from(kind), len) {
            (sys::NV_TYPE_NULL, 0) => Some(Value::Null),
            (sys::NV_TYPE_BOOL, 1) => match self.take(1)? {
                [byte @ 0..=1] => Some(Value::Bool(*byte == 1)),
                _ => None,
            },
            (sys::NV_TYPE_NUMBER, 8) => self.number().map(Value::Number),
            (sys::NV_TYPE_STRING, 1..) => {
                CStr::from_bytes_with_nul(self.take(len)?).ok().map(|text| Value::String(text.to_owned()))
            }
            (sys::NV_TYPE_BINARY, 1..) => Some(Value::Binary(self.take(len)?.to_vec())),
            (sys::NV_TYPE_NVLIST, 1..) => self.list(true).map(|list| Value::List(Box::new(list))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> List {
        let inner = List::default().with("af", Value::Number(2)).with("address", Value::Binary(vec![16; 16]));
        List::default()
            .with("syncdev", Value::String(c"em0".into()))
            .with("syncpeer", Value::List(Box::new(inner)))
            .with("maxupdates", Value::Number(128))
    }

    #[test]
    fn lists_come_back_as_packed() {
        assert_eq!(List::unpack(&sample().pack()), Some(sample()));
    }

    #[test]
    fn no_truncated_list_is_read() {
        let bytes = sample().pack();
        assert!((0..bytes.len()).all(|len| List::unpack(&bytes[..len]).is_none()));
    }
}
