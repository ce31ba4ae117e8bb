//! What is remembered, how long, and how much of it.

use http::HeaderMap;

use super::*;

fn recall(memory: &Arc<Memory>, key: &str, fingerprint: u64) -> Recalled {
    memory.recall(key.as_bytes().into(), fingerprint, Instant::now())
}

#[track_caller]
fn first(memory: &Arc<Memory>, key: &str) -> Turn {
    match recall(memory, key, 1) {
        Recalled::Nothing(turn) => turn,
        other => panic!("{key}: {other:?}"),
    }
}

#[track_caller]
fn repeated(memory: &Arc<Memory>, key: &str) -> Answering {
    match recall(memory, key, 1) {
        Recalled::Same(repeat) => repeat.into(),
        other => panic!("{key}: {other:?}"),
    }
}

fn answer(body: impl Into<Bytes>) -> Answer {
    answer::json(StatusCode::OK, body)
}

#[test]
fn an_answer_is_repeated_for_60_seconds() {
    let memory = Arc::default();
    let start = Instant::now();
    let recall =
        |fingerprint, after| Memory::recall(&memory, b"a"[..].into(), fingerprint, start + after);
    first(&memory, "a").finish(&answer("one"), start);
    let last = KEPT_FOR - Duration::from_millis(1);
    let Recalled::Same(repeat) = recall(1, last) else { panic!("it is the same") };
    let Answering::Now(repeat) = repeat.into() else { panic!("it is there") };
    assert_eq!((repeat.status(), &**repeat.body()), (StatusCode::OK, &b"one"[..]));
    assert_eq!(repeat.headers(), answer("one").headers());
    assert!(matches!(recall(2, last), Recalled::Another));
    assert!(matches!(recall(1, KEPT_FOR), Recalled::Nothing(_)));
    assert!(memory.calls.lock().answered.is_empty());
    assert_eq!(memory.calls.lock().bytes, 0);
}

#[tokio::test]
async fn who_repeats_a_call_under_way_waits_for_it() {
    let memory = Arc::default();
    let turn = first(&memory, "a");
    assert!(matches!(recall(&memory, "a", 2), Recalled::Another));
    let late = Instant::now() + 2 * KEPT_FOR;
    let Recalled::Same(repeat) = memory.recall(b"a"[..].into(), 1, late) else {
        panic!("it is the same")
    };
    let Answering::Later(repeat) = repeat.into() else { panic!("it is not there") };
    let finish = async { turn.finish(&answer("one"), Instant::now()) };
    let (repeat, ()) = tokio::join!(repeat, finish);
    assert_eq!(repeat.body(), "one");
}

#[tokio::test]
async fn what_is_never_answered_is_forgotten() {
    let memory = Arc::default();
    let turn = first(&memory, "a");
    let Answering::Later(repeat) = repeated(&memory, "a") else { panic!("it is not there") };
    let (repeat, ()) = tokio::join!(repeat, async { drop(turn) });
    assert_eq!(repeat.status(), StatusCode::INTERNAL_SERVER_ERROR);
    first(&memory, "a");
}

#[test]
fn the_oldest_answer_makes_room() {
    let memory = Arc::default();
    let under_way: Vec<Turn> =
        (0..MOST_CALLS - 2).map(|n| first(&memory, &n.to_string())).collect();
    for key in ["a", "b", "c"] {
        first(&memory, key).finish(&answer(key), Instant::now());
    }
    let turn = first(&memory, "a");
    repeated(&memory, "c");
    let other = first(&memory, "b");
    assert!(matches!(recall(&memory, "c", 1), Recalled::TooMuch));
    assert_eq!(memory.calls.lock().by_key.len(), MOST_CALLS);
    repeated(&memory, "a");
    drop((turn, other, under_way));
    assert!(memory.calls.lock().by_key.is_empty());
}

#[test]
fn large_answers_make_room_for_each_other() {
    let memory = Arc::default();
    let half = Bytes::from(vec![b'x'; MOST_BYTES / 2]);
    for key in ["a", "b", "c"] {
        first(&memory, key).finish(&answer(half.clone()), Instant::now());
    }
    assert_eq!(memory.calls.lock().bytes, MOST_BYTES);
    repeated(&memory, "b");
    repeated(&memory, "c");
    drop(first(&memory, "a"));
    first(&memory, "huge").finish(&answer(vec![b'x'; MOST_BYTES + 1]), Instant::now());
    repeated(&memory, "huge");
    assert_eq!(memory.calls.lock().by_key.len(), 1);
}

#[test]
fn what_makes_a_call_another() {
    let memory = Memory::default();
    let fingerprint = |lines: &[(&'static str, &str)], body: &str| {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, value.parse().unwrap());
        }
        let session = HeaderName::from_static("x-kuiperbelt-session");
        let about = [&session, &CHANNEL, &EXCEPT, &HUB, &CONTENT_TYPE];
        memory.fingerprint(&Fields::from(&map), about, body.as_bytes())
    };
    let session = "x-kuiperbelt-session";
    let channel = "x-kuiperbelt-channel";
    let except = "x-kuiperbelt-except";
    let same = fingerprint(&[(session, "a"), ("date", "today")], "hello");
    assert_eq!(same, fingerprint(&[("date", "tomorrow"), (session, "a")], "hello"));
    let others = [
        (vec![(session, "a")], "hell"),
        (vec![(session, "b")], "hello"),
        (vec![(session, "a"), (session, "a")], "hello"),
        (vec![(channel, "a")], "hello"),
        (vec![(except, "a")], "hello"),
        (vec![(session, "a"), ("content-type", "application/octet-stream")], "hello"),
        (vec![], "ahello"),
    ];
    for (lines, body) in others {
        assert_ne!(same, fingerprint(&lines, body), "{lines:?} {body}");
    }
}

#[test]
fn keys() {
    let key = |values: &[&str]| {
        let mut map = HeaderMap::new();
        for value in values {
            map.append(&IDEMPOTENCY_KEY, value.parse().unwrap());
        }
        super::key(&Fields::from(&map)).map(|key| key.map(<[u8]>::to_vec))
    };
    let longest = "x".repeat(LONGEST_KEY);
    assert_eq!(key(&[]), Ok(None));
    assert_eq!(key(&["\"a\""]), Ok(Some(b"\"a\"".to_vec())));
    assert_eq!(key(&[&longest]), Ok(Some(longest.clone().into_bytes())));
    for bad in [&[""][..], &[&format!("{longest}x")], &["a", "a"]] {
        assert_eq!(key(bad), Err(Refused::Key), "{bad:?}");
    }
}
