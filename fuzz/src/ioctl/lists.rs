// SPDX-License-Identifier: BSD-2-Clause
//! nvlists that resemble those of ifconfig(8).

use anyhow::Result;
use arbitrary::{Arbitrary, Unstructured};
use pfsync_simulator::freebsd::nv::{List, Value};
use pfsync_simulator::lab::{OUTSIDE, SYNC};
use std::ffi::{CStr, CString};
use sys_bindings as sys;

/// An nvlist with a configuration.
pub(crate) fn list(u: &mut Unstructured) -> Result<List> {
    let mut list = List::default();
    if u.ratio(7, 8)? {
        add(&mut list, c"maxupdates", odd(u, |u| Ok(Value::Number(u.arbitrary::<u8>()?.into())))?);
    }
    if u.ratio(7, 8)? {
        add(&mut list, c"flags", odd(u, |u| Ok(Value::Number(u.arbitrary::<u8>()?.into())))?);
    }
    if u.ratio(3, 4)? {
        let name = |u: &mut Unstructured| {
            let name = u.choose(&[SYNC, SYNC, SYNC, OUTSIDE, "pfsync0", "em9", "", "an interface's name"])?;
            Ok(Value::String(CString::new(*name)?))
        };
        add(&mut list, c"syncdev", odd(u, name)?);
    }
    if u.arbitrary()? {
        let version =
            |u: &mut Unstructured| Ok(Value::Number(*u.choose(&[0, 1301, 1400, 1500, u64::MAX])?));
        add(&mut list, c"version", odd(u, version)?);
    }
    if u.arbitrary()? {
        let peer = |u: &mut Unstructured| Ok(Value::List(Box::new(peer_list(u)?)));
        add(&mut list, c"syncpeer", odd(u, peer)?);
    }
    Ok(list)
}

fn peer_list(u: &mut Unstructured) -> Result<List> {
    let mut list = List::default();
    let (af, len) =
        *u.choose(&[(sys::AF_INET, 16), (sys::AF_INET6, 28), (0, 16), (255, 16), (sys::AF_INET, 28)])?;
    let mut address = vec![0; len];
    match u.int_in_range(0..=3)? {
        0 => u.fill_buffer(&mut address)?,
        1 => address[4..8].copy_from_slice(&[192, 0, 2, 2]),
        2 => address[8..16].copy_from_slice(&[0xfe, 0x80, 0, 0, 0, 0, 0, 0]),
        _ => {}
    }
    add(&mut list, c"af", odd(u, |_| Ok(Value::Number(af.into())))?);
    add(&mut list, c"address", odd(u, |_| Ok(Value::Binary(address)))?);
    Ok(list)
}

fn add(list: &mut List, name: &CStr, value: Value) {
    list.pairs.push((name.to_owned(), value));
}

/// In most cases the value that belongs there, otherwise any.
fn odd<'a>(
    u: &mut Unstructured<'a>,
    proper: impl FnOnce(&mut Unstructured<'a>) -> Result<Value>,
) -> Result<Value> {
    Ok(match u.int_in_range(0..=31)? {
        0 => Value::Null,
        1 => Value::Bool(u.arbitrary()?),
        2 => Value::Number(u.arbitrary()?),
        3 => Value::String(CString::arbitrary(u)?),
        4 => Value::Binary(vec![1; usize::from(u.arbitrary::<u8>()?).max(1)]),
        5 => Value::List(Box::default()),
        _ => proper(u)?,
    })
}
