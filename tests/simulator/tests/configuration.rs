// SPDX-License-Identifier: BSD-2-Clause
//! What ifconfig(8), older programs and sysctl(8) can set.

mod common;

use anyhow::Result;
use common::{pair, plain_lab, record, unload};
use pfsync_simulator::freebsd::kernel::interface;
use pfsync_simulator::lab::{Config, Firewall, SyncPeer, GROUP6, OUTSIDE, SYNC};
use sys_bindings as sys;

#[test]
fn a_configuration_reads_back_as_set() -> Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.kernel.load()?;
    let config = Config { maxupd: 7, defer: true, version: 1301, ..Config::default() };
    assert_eq!(fw.configure(&config)?, Ok(()));
    let list = fw.configuration()?.expect("readable");
    assert_eq!(list.number(c"maxupdates"), Some(7));
    assert_eq!(list.number(c"version"), Some(1301));
    assert_ne!(list.number(c"flags").unwrap_or(0) & u64::from(sys::PFSYNCF_DEFER), 0);
    let old = fw.configuration_old()?.expect("readable");
    assert_eq!(old.pfsyncr_maxupdates, 7);
    assert!(SYNC.bytes().chain([0]).eq(old.pfsyncr_syncdev[..4].iter().map(|byte| *byte as u8)));
    fw.unload()
}

#[test]
fn the_old_request_configures_too() -> Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.kernel.load()?;
    let mut old = fw.configuration_old()?.expect("readable");
    old.pfsyncr_syncdev.iter_mut().zip(SYNC.bytes()).for_each(|(to, from)| *to = from as i8);
    old.pfsyncr_maxupdates = 9;
    assert_eq!(fw.configure_old(old)?, Ok(()));
    assert_eq!(fw.configuration_old()?.expect("readable").pfsyncr_maxupdates, 9);
    old.pfsyncr_maxupdates = 256;
    assert_eq!(fw.configure_old(old)?, Err(sys::EINVAL as i32));
    fw.unload()
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() -> Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.kernel.load()?;
    let before = fw.configuration()?;
    let invalid = sys::EINVAL as i32;
    let no_such_interface = Config { syncdev: Some("em9".into()), ..Config::default() };
    assert_eq!(fw.configure(&no_such_interface)?, Err(invalid));
    assert_eq!(fw.configure(&Config { maxupd: 256, ..Config::default() })?, Err(invalid));
    assert_eq!(fw.configure(&Config { version: 1501, ..Config::default() })?, Err(invalid));
    assert_eq!(fw.configure_bytes(vec![0x6c; 40])?, Err(invalid));
    assert_eq!(fw.configure_bytes(Vec::new())?, Err(invalid));
    assert_eq!(fw.set_mtu(1400)?, Err(invalid));
    assert_eq!(fw.configuration()?, before);
    fw.unload()
}

#[test]
fn the_same_configuration_again_does_nothing() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    let sent = record(&lab);
    for _ in 0..3 {
        assert_eq!(one.configure(&Config::default())?, Ok(()));
    }
    lab.seconds(2)?;
    assert!(sent.borrow().is_empty());
    assert_eq!(one.demotion(), 0);
    unload([one, two])
}

#[test]
fn what_is_set_holds_for_an_interface_that_was_renamed() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    let (sync, outside) =
        (one.sync() as usize, one.vnet.interfaces.find(OUTSIDE).expect("attached") as usize);
    one.run("ifconfig", move |_| {
        interface::rename(sync as *mut _, "sync0");
        interface::rename(outside as *mut _, SYNC);
    })?;
    let renamed = Config { syncdev: Some("sync0".into()), maxupd: 5, ..Config::default() };
    assert_eq!(one.configure(&renamed)?, Ok(()));
    assert_eq!(one.demotion(), 0, "the new name of the same interface causes no bulk update");
    assert_eq!(one.configure(&Config::default())?, Ok(()));
    assert_ne!(one.demotion(), 0, "another interface by the old name causes one");
    unload([one, two])
}

#[test]
fn the_group_of_either_family_can_be_joined() -> Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.start_pfsync(&Config::default())?;
    fw.start_pfsync(&Config { syncpeer: Some(SyncPeer::Inet6(GROUP6)), ..Config::default() })?;
    assert_eq!(fw.configure(&Config { syncdev: None, ..Config::default() })?, Ok(()));
    assert_eq!(fw.demotion(), 0);
    fw.unload()
}

#[test]
fn sysctls_belong_to_their_vnet() -> Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    let jail = fw.jail(&lab, 2)?;
    fw.kernel.load()?;
    let read = |stack: &Firewall| fw.kernel.sysctl_read(&stack.vnet, "net.pfsync.carp_demotion_factor", 4);
    assert_eq!(read(&fw)?, 240i32.to_le_bytes());
    fw.kernel.sysctl_write(&fw.vnet, "net.pfsync.carp_demotion_factor", &3i32.to_le_bytes())?;
    assert_eq!((read(&fw)?, read(&jail)?), (3i32.to_le_bytes().into(), 240i32.to_le_bytes().into()));
    fw.start_pfsync(&Config::default())?;
    assert_eq!(fw.demotion(), 3);
    fw.request_bulk_update()?;
    assert!(fw.kernel.sysctl_write(&fw.vnet, "net.pfsync.bulk_request", &2i32.to_le_bytes()).is_err());
    assert_eq!(fw.demotion(), 3);
    fw.set_up(false)?.expect("down");
    assert_eq!(fw.demotion(), 0);
    fw.unload()
}

/// Memory that a 32-bit program can have: its addresses have 32 bits.
fn low_memory() -> *mut u8 {
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT);
    // SAFETY: asks for fresh memory.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
    assert_ne!(memory, libc::MAP_FAILED);
    memory.cast()
}

/// A pointer as a 32-bit program passes it in a request: what follows it is not zero.
fn in_32_bits(memory: *mut u8) -> *mut u8 {
    (memory as usize | 0xdead_beef << 32) as *mut u8
}

/// Sends a request with a pointer or with the buffer of an nvlist.
fn request(fw: &Firewall, command: u64, member: usize, buffer_len: u32) -> Result<Result<(), i32>> {
    let fill = move |request: &mut sys::ifreq| match buffer_len {
        0 => request.ifr_ifru.ifru_data = member as *mut i8,
        len => {
            request.ifr_ifru.ifru_nv =
                sys::ifreq_nv_req { buf_length: len, length: len, buffer: (member as *mut u8).cast() }
        }
    };
    fw.ioctl(command, fill, |_| ())
}

#[test]
fn a_32_bit_program_can_configure() -> Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.kernel.load()?;
    fw.kernel.has_32bit_programs.set(true);
    let memory = low_memory();
    let data = in_32_bits(memory) as usize;
    let old = memory.cast::<sys::pfsyncreq>();
    assert_eq!(request(&fw, sys::pfs_SIOCGETPFSYNC, data, 0)?, Ok(()));
    // SAFETY: this test's memory, which is large enough.
    unsafe {
        assert_eq!((*old).pfsyncr_maxupdates, 128);
        (*old).pfsyncr_maxupdates = 9;
    }
    assert_eq!(request(&fw, sys::pfs_SIOCSETPFSYNC, data, 0)?, Ok(()));
    let list = Config { maxupd: 7, ..Config::default() }.to_list().pack();
    // SAFETY: as above.
    unsafe { memory.copy_from_nonoverlapping(list.as_ptr(), list.len()) };
    assert_eq!(request(&fw, sys::pfs_SIOCSETPFSYNCNV, data, list.len() as u32)?, Ok(()));
    assert_eq!(request(&fw, sys::pfs_SIOCGETPFSYNCNV, data, 4096)?, Ok(()));
    assert_eq!(request(&fw, sys::pfs_SIOCGETPFSYNC, data, 0)?, Ok(()));
    // SAFETY: as above.
    assert_eq!(unsafe { (*old).pfsyncr_maxupdates }, 7);
    fw.unload()
}
