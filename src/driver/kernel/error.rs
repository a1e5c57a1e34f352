//! Error numbers.

use core::ffi::c_int;
use sys_bindings as sys;

/// An error number of `sys/errno.h`, never 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(c_int);

macro_rules! errno {
    ($($name:ident)*) => {
        #[allow(missing_docs)]
        impl Errno {
            $(pub const $name: Errno = Errno(sys::$name as c_int);)*
        }
    };
}

errno!(EADDRNOTAVAIL EEXIST EFBIG EINVAL ENOBUFS ENOEXEC ENOMEM ENOTTY ENXIO EOPNOTSUPP);

/// What a kernel function that can fail returns.
pub type Result<T> = core::result::Result<T, Errno>;

impl Errno {
    /// Reads the return value of a C function: 0 is success.
    pub fn check(value: c_int) -> Result<()> {
        match value {
            0 => Ok(()),
            error => Err(Errno(error)),
        }
    }
}

/// What C wants to be told.
pub fn to_c(result: Result<()>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(Errno(error)) => error,
    }
}
