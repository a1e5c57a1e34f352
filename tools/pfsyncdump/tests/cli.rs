// SPDX-License-Identifier: BSD-2-Clause
//! Runs pfsyncdump on captures of stock FreeBSD and on damaged input.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use etherparse::{IpNumber, PacketBuilder, VlanId};
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::DataLink;
use pfsync::engine::agreement::{seal, Key};
use pfsync::wire::trailer::{Epoch, Gap, Ident, Node, Repaired, TrailerWriter};
use pfsync::wire::{Action, FrameWriter, RawBulkStatus, RawId, IPPROTO_PFSYNC};
use serde_json::Value;

/// The captures, with their numbers of frames and of messages without end marks.
const CAPTURES: [(&str, usize, usize); 8] = [
    ("1301-wire", 76, 123),
    ("1301-pfsync0", 63, 99),
    ("1400-wire", 88, 139),
    ("1400-pfsync0", 72, 113),
    ("1500-wire", 107, 159),
    ("1500-pfsync0", 86, 125),
    ("1500-actions-wire", 41, 41),
    ("1500-actions-pfsync0", 39, 39),
];

fn capture(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/captures").join(name);
    path.with_extension("pcap").to_str().unwrap().to_owned()
}

fn dump(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pfsyncdump")).args(args).output().unwrap()
}

/// Runs pfsyncdump with a capture on standard input.
fn dump_input(args: &[&str], input: Vec<u8>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pfsyncdump"));
    let command =
        command.args(args).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // In a thread, because the output may be more than a pipe holds.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    output
}

/// The lines of output. Asserts that pfsyncdump succeeded.
fn lines(output: Output) -> Vec<String> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn pcap(datalink: DataLink, packets: &[Vec<u8>]) -> Vec<u8> {
    let header = PcapHeader { datalink, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
    for packet in packets {
        writer.write_packet(&PcapPacket::new(Duration::ZERO, packet.len() as u32, packet)).unwrap();
    }
    writer.into_writer()
}

/// A frame with a delete and a bulk status.
fn frame() -> Vec<u8> {
    let mut buffer = vec![0; 100];
    let mut writer = FrameWriter::new(&mut buffer, &[7; 16]).unwrap();
    writer.append(Action::DeleteCompressed, &RawId { id: [1; 8], creator: [2; 4] }).unwrap();
    let status = RawBulkStatus { creator: [3; 4], endtime: 5.into(), status: 1, pad: [0; 3] };
    writer.append(Action::BulkStatus, &status).unwrap();
    let len = writer.finish();
    buffer.truncate(len);
    buffer
}

/// The frame with one byte changed.
fn changed(offset: usize, byte: u8) -> Vec<u8> {
    let mut bytes = frame();
    bytes[offset] = byte;
    bytes
}

const KEY: Key = [0xab; 32];

/// A frame with a delete, unless it is a hello, and a trailer, in an IPv4 packet. It has a
/// tag if there is a key.
fn numbered(
    epoch: u64,
    number: u64,
    key: Option<&Key>,
    is_hello: bool,
    fill: impl FnOnce(&mut TrailerWriter),
) -> Vec<u8> {
    let mut frame = vec![0; 400];
    let mut writer = FrameWriter::new(&mut frame, &[7; 16]).unwrap();
    writer.end_with_trailer(key.is_some());
    if !is_hello {
        writer.append(Action::DeleteCompressed, &RawId { id: [1; 8], creator: [2; 4] }).unwrap();
    }
    let len = writer.finish();
    let epoch = Epoch::new(epoch).unwrap();
    let mut writer = TrailerWriter::new(&mut frame[len..], epoch, number, key.is_some()).unwrap();
    fill(&mut writer);
    let len = len + writer.finish();
    frame.truncate(len);
    key.iter().for_each(|key| seal(key, &mut frame));
    in_ipv4(epoch.get() as u8, &frame)
}

fn in_ipv4(host: u8, frame: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4([192, 0, 2, host], [224, 0, 0, 240], 255)
        .write(&mut packet, IpNumber(IPPROTO_PFSYNC), frame)
        .unwrap();
    packet
}

fn deletes(epoch: u64, number: u64, key: Option<&Key>) -> Vec<u8> {
    numbered(epoch, number, key, false, |_| ())
}

/// A hello of node 2 that says something of node 1.
fn hello(number: u64, key: Option<&Key>) -> Vec<u8> {
    numbered(2, number, key, true, |writer| {
        let node = Node {
            challenge: 9,
            hello: 3,
            creator: [0xa, 0xb, 0xc, 0xd],
            states: 400,
            version: [0, 3, 0],
            freebsd: 14,
        };
        let epoch = Epoch::new(1).unwrap();
        writer.node(&node).unwrap();
        writer.repaired(&Repaired { of: epoch, through: 6, forgotten: 2 }).unwrap();
        let gaps = [Gap { first: 7, last: 7 }, Gap { first: 9, last: 11 }];
        writer.report(Ident { epoch, challenge: 5 }, 12, gaps).unwrap();
    })
}

/// A capture in which numbers 3, 4 and 7 of node 1 are lacking, and number 6 is doubled.
fn gappy() -> Vec<u8> {
    let mut packets: Vec<_> = [2, 5, 6, 6, 8].iter().map(|number| deletes(1, *number, None)).collect();
    packets.extend([hello(41, None), deletes(2, 42, Some(&KEY))]);
    pcap(DataLink::RAW, &packets)
}

/// A file with a key.
fn key_file(name: &str, content: &str) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn every_message_of_the_captures_has_a_line() {
    for (name, _, messages) in CAPTURES {
        let text = lines(dump(&[&capture(name)]));
        assert_eq!(text.len(), messages, "{name}");
        assert!(text.iter().all(|line| !line.contains("rejected") && !line.contains("unknown")), "{name}");
    }
}

#[test]
fn every_message_of_the_captures_is_a_json_object() {
    for (name, _, messages) in CAPTURES {
        let text = lines(dump(&["--json", &capture(name)]));
        let objects: Vec<Value> = text.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(objects.len(), messages, "{name}");
        let is_named = |object: &Value| object["time"].is_string() && object["action"].is_string();
        assert!(objects.iter().all(is_named), "{name}");
    }
}

#[test]
fn summaries_count_every_frame() {
    for (name, frames, messages) in CAPTURES {
        let text = lines(dump(&["--summary", "--json", &capture(name)])).concat();
        let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
        let total = rows.last().unwrap();
        assert_eq!(total["frames"], frames, "{name}");
        assert_eq!(total["messages"], messages + frames, "{name}: an end mark for each frame");
        assert_eq!(total["rejected"], 0, "{name}");
    }
}

#[test]
fn lines_are_in_pfs_words() {
    let expected = [
        "21:21:05.652526 14 192.0.2.1 > 224.0.0.240 insert-1400 id 000000006b020b47 creator ef07e1d1 on all out \
         tcp 203.0.113.1:53956 -> 203.0.113.2:7777 stack 198.51.100.2:64001 -> 203.0.113.2:7777 \
         ESTABLISHED:ESTABLISHED src [2483917691 + 65537] win 1027 wscale 6 \
         dst [1173438132 + 65728] win 1024 wscale 6 timeout tcp.established age 0s expires 86400s \
         packets 2:1 bytes 112:60 rule 3 nat-rule 0",
        "21:21:08.838003 24 192.0.2.1 > 224.0.0.240 update-compressed id 000000006b020b4a creator ef07e1d1 \
         ESTABLISHED:ESTABLISHED src [2817115781 + 66240] win 1035 wscale 6 \
         dst [4111009610 + 66240] win 1035 wscale 6 timeout tcp.established",
        "21:21:14.090634 36 192.0.2.1 > 224.0.0.240 delete-compressed id 000000006b020b41 creator ef07e1d1",
        "21:21:15.258248 39 192.0.2.2 > 224.0.0.240 update-request for all states",
        "21:21:15.259114 40 192.0.2.1 > 224.0.0.240 bulk-status start creator ef07e1d1 age 0s",
        "21:21:16.417762 56 192.0.2.2 > 224.0.0.240 insert-1400 id 000000006b020b3c creator 38fece4c on all out \
         igmp 192.0.2.2 -> 224.0.0.22 SINGLE:NO_TRAFFIC timeout other.first age 1s expires 59s packets 0:0 \
         bytes 0:0 rule 3",
        "21:21:24.655787 87 192.0.2.2 > 224.0.0.240 insert-ack id 000000006b020b55 creator ef07e1d1",
        "21:21:24.893739 88 192.0.2.1 > 224.0.0.240 clear creator ef07e1d1 on every interface",
    ];
    let lines = lines(dump(&[&capture("1400-wire")]));
    for line in expected {
        assert!(lines.iter().any(|other| other == line), "no such line: {line}");
    }
}

#[test]
fn the_pfsync_interface_shows_no_addresses() {
    let expected = "21:21:00.572104 2 insert-1301 id 000000006b020b3c creator 15b610cb on all out \
        igmp 192.0.2.1 -> 224.0.0.22 SINGLE:NO_TRAFFIC timeout other.first age 1s expires 59s \
        packets 0:0 bytes 0:0 rule 3";
    assert_eq!(lines(dump(&[&capture("1301-pfsync0")]))[1], expected);
}

#[test]
fn json_has_every_field_once() {
    let expected = concat!(
        r#"{"time":"1795296060.059152000","frame":1,"sender":"192.0.2.1","receiver":"224.0.0.240","#,
        r#""checksum":"2bca3134988a793a1053ba35e7c5eebc","offset":58,"action":"insert-1400","#,
        r#""id":"000000006b020b3e","creator":"ef07e1d1","interface":"all","direction":"out","#,
        r#""family":"inet","proto":"igmp","wire":{"from":{"addr":"192.0.2.1","port":0},"#,
        r#""to":{"addr":"224.0.0.22","port":0}},"#,
        r#""src":{"state":"SINGLE","seqlo":0,"seqhi":0,"seqdiff":0,"max_win":0,"mss":0,"wscale":0},"#,
        r#""dst":{"state":"NO_TRAFFIC","seqlo":0,"seqhi":0,"seqdiff":0,"max_win":0,"mss":0,"wscale":0},"#,
        r#""timeout":"other.first","age":1,"expires":59,"packets":[0,0],"bytes":[0,0],"#,
        r#""rule":3,"anchor":null,"nat_rule":null,"flags":[],"log":[],"sync_flags":[],"updates":0,"#,
        r#""rule_actions":{"qid":0,"pqid":0,"dnpipe":0,"dnrpipe":0,"rtableid":-1,"min_ttl":0,"#,
        r#""set_tos":0,"max_mss":0,"set_prio":[0,0]}}"#
    );
    assert_eq!(lines(dump(&["--json", &capture("1400-wire")]))[0], expected);
}

#[test]
fn summaries_are_by_action() {
    let expected = [
        "action               frames  messages       bytes  rejected  creators",
        "clear                     1         1          24         0  ef07e1d1",
        "insert-ack                2         2          32         0  ef07e1d1",
        "update-compressed        24        24        2112         0  38fece4c ef07e1d1",
        "update-request            7         7         112         0",
        "delete-compressed         6        12         168         0  ef07e1d1",
        "bulk-status               7         7         112         0  38fece4c ef07e1d1",
        "eof                      88        88         352         0",
        "insert-1400              22        23        6459         0  38fece4c ef07e1d1",
        "update-1400              26        63       17555         0  38fece4c ef07e1d1",
        "total                    88       227       28686         0  38fece4c ef07e1d1",
    ];
    assert_eq!(lines(dump(&["--summary", &capture("1400-wire")])), expected);
}

#[test]
fn standard_input_is_read() {
    let path = capture("1400-wire");
    assert_eq!(lines(dump_input(&[], std::fs::read(&path).unwrap())), lines(dump(&[&path])));
}

#[test]
fn what_is_malformed_is_shown_and_the_rest_goes_on() {
    let mut trailing = frame();
    trailing.push(0);
    let packets = [
        changed(0, 4),
        frame()[..19].to_vec(),
        frame()[..50].to_vec(),
        changed(20, 6),
        changed(23, 9),
        changed(48, 3),
        trailing,
        frame(),
    ];
    let expected = [
        "00:00:00.000000 1 frame rejected at offset 0: protocol version 4",
        "00:00:00.000000 2 frame rejected at offset 0: shorter than a pfsync header",
        "00:00:00.000000 3 frame rejected at offset 0: length in the header does not fit the packet",
        "00:00:00.000000 4 delete rejected at offset 20: action 6 (count 1) is not one of pfsync's",
        "00:00:00.000000 5 delete-compressed rejected at offset 20: 9 of delete-compressed announced, \
         fewer bytes left",
        "00:00:00.000000 6 delete-compressed id 0101010101010101 creator 02020202",
        "00:00:00.000000 6 bulk-status rejected at offset 40: bulk status is neither start nor end",
        "00:00:00.000000 7 delete-compressed id 0101010101010101 creator 02020202",
        "00:00:00.000000 7 bulk-status start creator 03030303 age 5s",
        "00:00:00.000000 7 eof rejected at offset 52: end mark before the end of the packet",
        "00:00:00.000000 8 delete-compressed id 0101010101010101 creator 02020202",
        "00:00:00.000000 8 bulk-status start creator 03030303 age 5s",
    ];
    assert_eq!(lines(dump_input(&[], pcap(DataLink::PFSYNC, &packets))), expected);
}

#[test]
fn rejected_states_are_named() {
    let mut capture = std::fs::read(capture("1400-pfsync0")).unwrap();
    // The address family of the first state, after the headers of the file, the
    // packet, the frame and the run.
    capture[24 + 16 + 20 + 4 + 232] = 99;
    let expected = "21:21:00.058589 1 insert-1400 rejected at offset 24: address family is neither IPv4 \
        nor IPv6 (id 000000006b020b3e creator ef07e1d1)";
    assert_eq!(lines(dump_input(&[], capture.clone()))[0], expected);
    let object: Value = serde_json::from_str(&lines(dump_input(&["--json"], capture))[0]).unwrap();
    assert_eq!(object["rejected"], "address family is neither IPv4 nor IPv6");
    assert_eq!((&object["id"], &object["offset"]), (&"000000006b020b3e".into(), &24.into()));
}

#[test]
fn no_part_of_a_frame_passes_for_a_frame() {
    let parts: Vec<_> = (0..frame().len()).map(|len| frame()[..len].to_vec()).collect();
    let lines = lines(dump_input(&[], pcap(DataLink::PFSYNC, &parts)));
    assert_eq!(lines.len(), parts.len());
    assert!(lines.iter().all(|line| line.contains("frame rejected at offset 0")));
}

#[test]
fn any_changed_byte_is_survived() {
    let packets: Vec<_> = (0..frame().len()).map(|offset| changed(offset, frame()[offset] ^ 0xff)).collect();
    let lines = lines(dump_input(&[], pcap(DataLink::PFSYNC, &packets)));
    for number in 1..=packets.len() {
        let start = format!("00:00:00.000000 {number} ");
        assert!(lines.iter().any(|line| line.starts_with(&start)), "frame {number} is shown");
    }
}

#[test]
fn trailers_and_their_blocks_have_lines() {
    let capture = pcap(DataLink::RAW, &[deletes(1, 7, None), hello(41, None)]);
    let expected = [
        "00:00:00.000000 1 192.0.2.1 > 224.0.0.240 delete-compressed id 0101010101010101 creator 02020202",
        "00:00:00.000000 1 192.0.2.1 > 224.0.0.240 trailer number 7 epoch 0000000000000001",
        "00:00:00.000000 2 192.0.2.2 > 224.0.0.240 hello number 41 epoch 0000000000000002",
        "00:00:00.000000 2 192.0.2.2 > 224.0.0.240 node hostid 0a0b0c0d hello 3 states 400 version 0.3.0/14 \
         challenge 0000000000000009",
        "00:00:00.000000 2 192.0.2.2 > 224.0.0.240 repaired for epoch 0000000000000001 through 6 forgotten 2",
        "00:00:00.000000 2 192.0.2.2 > 224.0.0.240 report on epoch 0000000000000001 through 6 heard 12 \
         missing 7,9-11 challenge 0000000000000005",
    ];
    assert_eq!(lines(dump_input(&[], capture)), expected);
}

#[test]
fn trailers_and_their_blocks_are_json_objects() {
    let text = lines(dump_input(&["--json"], pcap(DataLink::RAW, &[hello(41, None)])));
    let origin = concat!(
        r#"{"time":"0.000000000","frame":1,"sender":"192.0.2.2","receiver":"224.0.0.240","#,
        r#""checksum":"07070707070707070707070707070707","#
    );
    let expected = [
        r#""offset":40,"action":"hello","number":41,"epoch":"0000000000000002","tag":null,"tag_is_right":null}"#,
        concat!(
            r#""offset":56,"action":"node","hostid":"0a0b0c0d","hello":3,"states":400,"version":"0.3.0","#,
            r#""freebsd":14,"challenge":"0000000000000009"}"#
        ),
        r#""offset":84,"action":"repaired","epoch":"0000000000000001","through":6,"forgotten":2}"#,
        concat!(
            r#""offset":112,"action":"report","epoch":"0000000000000001","challenge":"0000000000000005","#,
            r#""through":6,"heard":12,"missing":[[7,7],[9,11]]}"#
        ),
    ];
    assert_eq!(text, expected.map(|rest| format!("{origin}{rest}")));
}

#[test]
fn tags_are_checked_with_the_keys_of_files() {
    let mut forged = deletes(1, 2, Some(&KEY));
    forged[20 + 20 + 4] ^= 1;
    let capture = || pcap(DataLink::RAW, &[deletes(1, 1, Some(&KEY)), forged.clone(), deletes(1, 3, None)]);
    let tags = |args: &[&str]| {
        let lines = lines(dump_input(args, capture()));
        let ends = lines.iter().filter(|line| line.contains(" trailer "));
        ends.map(|line| line.split_whitespace().skip(10).map(str::to_owned).collect())
            .collect::<Vec<Vec<_>>>()
    };
    let [first, second, untagged] = &tags(&[])[..] else { panic!() };
    assert_eq!((first[1].len(), second[1].len(), untagged.len()), (32, 32, 0));
    let verdicts = |args: &[&str]| tags(args).iter().map(|tag| tag.get(2).cloned()).collect::<Vec<_>>();
    let right = key_file("right-key", &("Ab".repeat(32) + "\nother lines\n"));
    let wrong = key_file("wrong-key", &"cd".repeat(32));
    let [is_right, is_wrong] = ["right", "wrong"].map(|word| Some(word.to_owned()));
    assert_eq!(verdicts(&["--key-file", &right]), [is_right.clone(), is_wrong.clone(), None]);
    assert_eq!(verdicts(&["--key-file", &wrong, "--key-file", &right]), [is_right, is_wrong.clone(), None]);
    assert_eq!(verdicts(&["--key-file", &wrong]), [is_wrong.clone(), is_wrong, None]);
}

#[test]
fn a_bad_key_is_refused_and_not_shown() {
    let short = "ab".repeat(31) + "a";
    for (name, content) in [("short-key", short.as_str()), ("empty-key", ""), ("late-key", "\nabab\n")] {
        let file = key_file(name, content);
        let output = dump(&["--key-file", &file, &capture("1400-wire")]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{name}");
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains("not 64 hex digits") && !message.contains("abab"), "{message}");
    }
}

#[test]
fn summaries_say_which_numbers_a_capture_lacks() {
    let expected = [
        "action               frames  messages       bytes  rejected  creators",
        "delete-compressed         6         6          96         0  02020202",
        "trailer                   7         7         240         0",
        "total                     7        13         476         0  02020202",
        "",
        "epoch                frames    hellos    tagged     wrong   doubled  numbers       senders          lacks",
        "0000000000000001          4         0         0         -         1  2-8           192.0.2.1        3-4,7",
        "0000000000000002          1         1         1         -         0  42-42         192.0.2.2        -",
    ];
    let capture = gappy();
    assert_eq!(lines(dump_input(&["--summary"], capture.clone())), expected);
    let text = lines(dump_input(&["--summary", "--json"], capture)).concat();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    let [.., total, first, second] = &rows[..] else { panic!("{text}") };
    assert_eq!((&total["action"], &total["bytes"]), (&"total".into(), &476.into()));
    assert_eq!(first["lacks"], serde_json::json!([[3, 4], [7, 7]]));
    assert_eq!((&second["senders"], &second["tagged"]), (&serde_json::json!(["192.0.2.2"]), &1.into()));
}

#[test]
fn a_malformed_trailer_is_shown() {
    let packet = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = hello(41, Some(&KEY))[20..].to_vec();
        change(&mut frame);
        in_ipv4(2, &frame)
    };
    let packets = [
        packet(&|frame| frame.truncate(30)),
        packet(&|frame| frame[28..36].fill(0)),
        packet(&|frame| frame.truncate(frame.len() - 1)),
        packet(&|frame| frame.extend([0; 4])),
        packet(&|frame| frame[39] -= 1),
        packet(&|frame| frame[20] = 0),
    ];
    let lines = lines(dump_input(&[], pcap(DataLink::RAW, &packets)));
    let rejected: Vec<_> = lines.iter().filter(|line| line.contains("rejected")).collect();
    let start = |number| format!("00:00:00.000000 {number} 192.0.2.2 > 224.0.0.240");
    let expected = [
        (1, "frame rejected at offset 40: trailer is shorter than its head"),
        (2, "frame rejected at offset 40: epoch of the trailer is zero"),
        (3, "frame rejected at offset 40: block of the trailer ends behind the packet"),
        (4, "frame rejected at offset 40: tag is not the last 16 bytes"),
        (5, "frame rejected at offset 40: block of the trailer ends behind the packet"),
    ];
    assert_eq!(
        rejected,
        expected.map(|(number, text)| format!("{} {text}", start(number))).iter().collect::<Vec<_>>()
    );
    assert_eq!(lines.len(), 5, "other bytes behind a frame are nothing");
}

#[test]
fn pcapng_with_tagged_ipv6_is_read() {
    let mut packet = Vec::new();
    PacketBuilder::ethernet2([1; 6], [2; 6])
        .single_vlan(VlanId::try_new(7).unwrap())
        .ipv6([0xfd; 16], [0xff; 16], 255)
        .write(&mut packet, IpNumber(IPPROTO_PFSYNC), &frame())
        .unwrap();
    let interface = InterfaceDescriptionBlock { linktype: DataLink::ETHERNET, snaplen: 0, options: vec![] };
    let block = EnhancedPacketBlock {
        interface_id: 0,
        // In units of the interface, which are microseconds, not in nanoseconds.
        timestamp: Duration::from_nanos(1_500_000),
        original_len: packet.len() as u32,
        data: packet.into(),
        options: vec![],
    };
    let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
    writer.write_pcapng_block(interface).unwrap();
    writer.write_pcapng_block(block).unwrap();
    let lines = lines(dump_input(&[], writer.into_inner()));
    let addresses = "fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd > ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    assert_eq!(lines[1], format!("00:00:01.500000 1 {addresses} bulk-status start creator 03030303 age 5s"));
}

#[test]
fn a_cut_capture_is_shown_up_to_the_cut() {
    let whole = pcap(DataLink::PFSYNC, &[frame(), frame()]);
    let output = dump_input(&[], whole[..whole.len() - 1].to_vec());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2);
    assert!(String::from_utf8(output.stderr).unwrap().contains("damaged capture"));
}

#[test]
fn what_is_no_capture_is_refused() {
    assert_eq!(dump_input(&[], b"no capture, certainly not".to_vec()).status.code(), Some(1));
    assert_eq!(dump(&["/nonexistent"]).status.code(), Some(1));
}
