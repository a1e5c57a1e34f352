// SPDX-License-Identifier: BSD-2-Clause
//! Error numbers.

use core::ffi::c_int;
use sys_bindings as sys;

/// An error number of `sys/errno.h`, never 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Errno(c_int);

macro_rules! errno {
    ($($name:ident)*) => {
        impl Errno {
            $(
                #[doc = concat!("`", stringify!($name), "`")]
                pub(crate) const $name: Errno = Errno(sys::$name as c_int);
            )*
        }
    };
}

errno!(EADDRNOTAVAIL EEXIST EFBIG EINVAL ENOBUFS ENOEXEC ENOMEM ENOTTY EPERM ENXIO EOPNOTSUPP);

/// The result of a kernel function that can fail.
pub(crate) type Result<T> = core::result::Result<T, Errno>;

impl Errno {
    /// Reads the return value of a C function: 0 is success.
    pub(crate) fn check(value: c_int) -> Result<()> {
        match value {
            0 => Ok(()),
            error => Err(Errno(error)),
        }
    }
}

/// A result as the return value of a function that C calls.
pub(crate) fn to_c(result: Result<()>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(Errno(error)) => error,
    }
}
