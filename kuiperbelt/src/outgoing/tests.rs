//! In which order frames leave, what is dropped, and that what is counted of them is true.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn outgoing(messages: &[&'static str]) -> Outgoing {
    let mut outgoing = Outgoing::default();
    for message in messages {
        outgoing.message(Bytes::from_static(message.as_bytes()));
    }
    outgoing
}

fn shown(outgoing: &Outgoing) -> Vec<&[u8]> {
    outgoing.frames().map(|frame| &frame.bytes()[..]).collect()
}

/// Messages not written whole, and their bytes behind the first.
fn waiting(outgoing: &Outgoing) -> (usize, usize) {
    (outgoing.messages(), outgoing.load().waiting_bytes)
}

/// What can be done to what is to be written, with sizes and shares.
#[derive(Debug, Clone)]
enum Step {
    Message(usize),
    Published(usize),
    Pong(usize),
    Ping(usize),
    Close,
    DropOldest,
    DropMessages,
    Forget,
    Begin,
    /// So many hundredths of what was begun.
    End(usize),
}

fn step() -> impl Strategy<Value = Step> {
    // Some are larger than what is gathered.
    let size = || prop_oneof![9 => 1_usize..60, 1 => 20_000_usize..50_000];
    prop_oneof![
        4 => size().prop_map(Step::Message),
        6 => size().prop_map(Step::Published),
        2 => (0_usize..9).prop_map(Step::Pong),
        1 => (0_usize..9).prop_map(Step::Ping),
        1 => Just(Step::Close),
        4 => Just(Step::DropOldest),
        1 => Just(Step::DropMessages),
        1 => Just(Step::Forget),
        4 => Just(Step::Begin),
        6 => (0_usize..=100).prop_map(Step::End),
    ]
}

/// The load of the frames of one kind, one by one.
fn walked(outgoing: &Outgoing, counts: impl Fn(usize, &Frame) -> bool) -> Load {
    let frames = outgoing.frames().enumerate();
    let sizes = frames.filter(|(at, frame)| counts(*at, frame));
    let sizes: Vec<usize> =
        sizes.filter_map(|(_, frame)| frame.message()).map(Bytes::len).collect();
    Load {
        messages: sizes.len(),
        bytes: sizes.iter().sum(),
        waiting_bytes: sizes.iter().skip(1).sum(),
    }
}

proptest! {
    #[test]
    fn what_is_counted_is_what_is_there(steps in vec(step(), 0..200)) {
        let mut outgoing = Outgoing::default();
        let mut begun = 0;
        let (mut sent, mut dropped) = (0, 0);
        for step in steps {
            match step {
                Step::Message(size) => outgoing.message(vec![0; size].into()),
                Step::Published(size) => outgoing.published(vec![0; size].into()),
                Step::Pong(size) => outgoing.pong(&vec![0; size]),
                Step::Ping(size) => outgoing.ping(&vec![0; size]),
                Step::Close => outgoing.close(vec![0; 4].into()),
                Step::DropOldest => dropped += u64::from(outgoing.drop_oldest()),
                Step::DropMessages => {
                    let before = outgoing.messages();
                    outgoing.drop_messages();
                    dropped += (before - outgoing.messages()) as u64;
                }
                Step::Forget => {
                    dropped += outgoing.messages() as u64;
                    outgoing.forget();
                }
                Step::Begin => {
                    begun = match outgoing.begin_write() {
                        Some(Batch::One(frame, offset)) => frame.len() - offset,
                        Some(Batch::Gathered) => GATHERED.with_borrow(Vec::len),
                        Some(Batch::Unsent) | None => 0,
                    };
                }
                Step::End(hundredths) => {
                    outgoing.end_write(std::mem::take(&mut begun) * hundredths / 100);
                }
            }
            sent += u64::from(matches!(step, Step::Message(_) | Step::Published(_)));
            let stays = outgoing.begun();
            let undroppable =
                |at, frame: &Frame| at < stays || matches!(frame, Frame::Message(_));
            prop_assert_eq!(outgoing.undroppable(), walked(&outgoing, undroppable));
            prop_assert_eq!(outgoing.load(), walked(&outgoing, |_, _| true));
            let only_sent = walked(&outgoing, |_, frame| matches!(frame, Frame::Message(_)));
            prop_assert_eq!(outgoing.sent_messages(), only_sent.messages);
            prop_assert_eq!(
                outgoing.messages_written() + outgoing.messages() as u64 + dropped,
                sent
            );
        }
    }
}

#[test]
fn whole_messages_are_counted_and_half_ones_are_not() {
    let mut outgoing = outgoing(&["aa", "bbbb", "c"]);
    outgoing.written(1);
    assert_eq!(waiting(&outgoing), (3, 5));
    outgoing.written(3);
    assert_eq!(waiting(&outgoing), (2, 1));
    outgoing.written(3);
    assert_eq!(waiting(&outgoing), (0, 0));
    assert!(outgoing.is_empty());
}

#[test]
fn pongs_go_ahead_but_into_no_frame() {
    let mut outgoing = outgoing(&["aa", "bb"]);
    outgoing.written(1);
    outgoing.pong(b"1");
    outgoing.pong(b"2");
    assert_eq!(shown(&outgoing), [&b"aa"[..], b"\x8a\x011", b"\x8a\x012", b"bb"]);
    outgoing.written(4);
    assert_eq!(waiting(&outgoing), (1, 0));
    outgoing.pong(b"3");
    assert_eq!(shown(&outgoing), [&b"\x8a\x012"[..], b"\x8a\x013", b"bb"]);
    outgoing.written(6);
    outgoing.pong(b"4");
    assert_eq!(shown(&outgoing), [&b"\x8a\x014"[..], b"bb"]);
}

#[test]
fn of_many_pongs_the_latest_wait() {
    for is_begun in [false, true] {
        let mut outgoing = outgoing(&["aa"]);
        outgoing.written(usize::from(is_begun));
        for number in 0..100_u8 {
            outgoing.pong(&[number]);
        }
        let pongs = MAX_PONGS as u8;
        let pongs = (100 - pongs..100).map(|number| vec![0x8a, 1, number]);
        let mut expected: Vec<Vec<u8>> = pongs.collect();
        expected.insert(if is_begun { 0 } else { MAX_PONGS }, b"aa".to_vec());
        assert_eq!(shown(&outgoing), expected);
    }
}

#[test]
fn one_ping_waits_behind_the_pongs() {
    let mut outgoing = outgoing(&["aa", "bb"]);
    outgoing.written(1);
    outgoing.pong(b"x");
    outgoing.ping(b"1");
    outgoing.ping(b"2");
    outgoing.pong(b"y");
    let ping = &b"\x89\x011"[..];
    assert_eq!(shown(&outgoing), [&b"aa"[..], b"\x8a\x01x", b"\x8a\x01y", ping, b"bb"]);
    outgoing.drop_messages();
    assert_eq!(shown(&outgoing), [&b"aa"[..], b"\x8a\x01x", b"\x8a\x01y", ping]);
    // Also while it is being written, alone or with others, or half written.
    assert!(outgoing.begin_write().is_some());
    assert!(!outgoing.writes_a_ping());
    outgoing.ping(b"3");
    outgoing.end_write(1 + 3 + 3);
    assert!(outgoing.begin_write().is_some());
    assert!(outgoing.writes_a_ping());
    outgoing.message(Bytes::from_static(b"cc"));
    outgoing.ping(b"4");
    outgoing.end_write(1);
    outgoing.ping(b"5");
    assert_eq!(shown(&outgoing), [ping, b"cc"]);
    outgoing.written(2);
    outgoing.ping(b"6");
    assert_eq!(shown(&outgoing), [&b"\x89\x016"[..], b"cc"]);
    assert_eq!(waiting(&outgoing), (1, 0));
    outgoing.ping(b"7");
    outgoing.pong(b"z");
    assert_eq!(shown(&outgoing), [&b"\x8a\x01z"[..], b"\x89\x016", b"cc"]);
}

#[test]
fn what_is_being_written_stays_where_it_is() {
    let mut outgoing = outgoing(&["aa", "bb"]);
    assert!(outgoing.begin_write().is_some());
    outgoing.message(Bytes::from_static(b"cc"));
    outgoing.pong(b"1");
    assert_eq!(shown(&outgoing), [&b"aa"[..], b"bb", b"\x8a\x011", b"cc"]);
    outgoing.drop_messages();
    assert_eq!(shown(&outgoing), [&b"aa"[..], b"bb", b"\x8a\x011"]);
    assert_eq!(waiting(&outgoing), (2, 2));
    outgoing.end_write(3);
    assert_eq!(waiting(&outgoing), (1, 0));
    outgoing.pong(b"2");
    assert_eq!(shown(&outgoing), [&b"bb"[..], b"\x8a\x011", b"\x8a\x012"]);
    // A write that came to nothing changes nothing.
    assert!(outgoing.begin_write().is_some());
    outgoing.end_write(0);
    assert_eq!(shown(&outgoing), [&b"bb"[..], b"\x8a\x011", b"\x8a\x012"]);
    // Nor does one of what has been forgotten since.
    assert!(outgoing.begin_write().is_some());
    outgoing = Outgoing::default();
    outgoing.close(Bytes::from_static(b"x"));
    outgoing.end_write(7);
    assert_eq!(shown(&outgoing), [b"x"]);
}

#[test]
fn a_frame_that_is_half_written_is_finished() {
    let mut outgoing = outgoing(&["aa", "bb"]);
    outgoing.written(1);
    outgoing.pong(b"1");
    outgoing.drop_messages();
    outgoing.close(Bytes::from_static(b"x"));
    assert_eq!(shown(&outgoing), [&b"aa"[..], b"\x8a\x011", b"x"]);
    assert_eq!(waiting(&outgoing), (1, 0));
    outgoing.written(2);
    outgoing.drop_messages();
    assert_eq!(shown(&outgoing), [b"\x8a\x011", &b"x"[..]]);
}
