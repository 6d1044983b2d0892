//! Every kind of delimiter against a plain model, whatever the pieces that its input comes in; and the driver's promises.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::framing::delimiter::Delimiter;
use crate::framing::driver::{Framing, Input, Next};
use crate::framing::framer::{Frame, FrameError, Framer};
use crate::framing::length::LengthPrefix;
use crate::framing::pattern::Pattern;
use crate::limits::READ_BUFFER_BYTES;

const LIMIT: usize = 1 << 20;

/// What became of an input.
#[derive(Clone, Debug, Default, PartialEq)]
struct Outcome {
    frames: Vec<Vec<u8>>,
    /// What was left without being a frame.
    rest: Vec<u8>,
    error: Option<FrameError>,
    overflow: bool,
}

/// Feeds `pieces` as the dispatcher does.
fn feed<'p>(framing: &mut Framing, pieces: impl IntoIterator<Item = &'p [u8]>) -> Outcome {
    let mut outcome = Outcome::default();
    for piece in pieces {
        let mut input = Input::new(piece);
        loop {
            match framing.next(&mut input) {
                Next::Frame(frame) => outcome.frames.push(frame.data().to_vec()),
                Next::More => break,
                Next::Overflow => outcome.overflow = true,
                Next::Failed(error) => outcome.error = Some(error),
            }
            if outcome.overflow || outcome.error.is_some() {
                outcome.rest = framing.bytes().to_vec();
                return outcome;
            }
        }
    }
    outcome.rest = framing.bytes().to_vec();
    outcome
}

/// `input` cut at `cuts`.
fn split<'i>(input: &'i [u8], cuts: &[Index]) -> Vec<&'i [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
    cuts.extend([0, input.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| &input[cut[0]..cut[1]]).collect()
}

/// The frames of `input` are what `expected` says, at once, byte by byte, and cut at `cuts`; so is what is left, but for an
/// error, which may come before all is there.
fn check(make: impl Fn() -> Delimiter, input: &[u8], cuts: &[Index], expected: &Outcome) -> Result<(), TestCaseError> {
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    for pieces in [vec![input], bytes, split(input, cuts)] {
        let outcome = feed(&mut Framing::new(make(), LIMIT), pieces.iter().copied());
        prop_assert_eq!(&outcome.frames, &expected.frames, "{:?}", pieces);
        prop_assert_eq!(&outcome.error, &expected.error);
        prop_assert!(!outcome.overflow);
        prop_assert!(expected.rest.starts_with(&outcome.rest));
        prop_assert!(expected.error.is_some() || outcome.rest == expected.rest);
    }
    Ok(())
}

/// A model finds the first frame: its data, and where it ends.
type Found = Result<Option<(Vec<u8>, usize)>, FrameError>;

fn model(mut input: &[u8], first: impl Fn(&[u8]) -> Found) -> Outcome {
    let mut outcome = Outcome::default();
    while !input.is_empty() {
        match first(input) {
            Ok(Some((data, end))) => {
                outcome.frames.push(data);
                input = &input[end..];
            }
            Ok(None) => break,
            Err(error) => {
                outcome.error = Some(error);
                break;
            }
        }
    }
    outcome.rest = input.to_vec();
    outcome
}

fn first_ended_by(delimiter: &[u8], input: &[u8]) -> Found {
    let at = (0..input.len()).find(|&at| input[at..].starts_with(delimiter));
    Ok(at.map(|at| (input[..at].to_vec(), at + delimiter.len())))
}

fn first_of_count(count: usize, input: &[u8]) -> Found {
    Ok(input.get(..count).map(|data| (data.to_vec(), count)))
}

fn first_with_length(width: usize, big: bool, included: bool, max: usize, input: &[u8]) -> Found {
    if input.len() < width {
        return Ok(None);
    }
    let header = &input[..width];
    let add = |sum: u128, byte: &u8| sum * 256 + u128::from(*byte);
    let announced = if big { header.iter().fold(0, add) } else { header.iter().rev().fold(0, add) };
    if included && announced < width as u128 {
        return Err(FrameError::invalid(format!("a length of {announced} is less than its header's {width}")));
    }
    let length = announced - if included { width as u128 } else { 0 };
    if length > max as u128 {
        return Err(FrameError::TooLong { limit: max });
    }
    let end = width + length as usize;
    Ok(input.get(width..end).map(|data| (data.to_vec(), end)))
}

/// A framer that remembers: a frame is a bracketed expression, `(a(b)c)`, with its outer brackets.
#[derive(Default)]
struct Brackets {
    looked: usize,
    depth: usize,
}

impl Framer for Brackets {
    fn next_frame(&mut self, input: &[u8]) -> Result<Option<Frame>, FrameError> {
        while let Some(&byte) = input.get(self.looked) {
            self.looked += 1;
            match byte {
                b'(' => self.depth += 1,
                b')' if self.depth == 0 => return Err(FrameError::invalid("a bracket that nothing opens")),
                b')' => self.depth -= 1,
                _ => {}
            }
            if self.depth == 0 {
                let end = std::mem::take(&mut self.looked);
                return Ok(Some(Frame::new(0..end, end)));
            }
        }
        Ok(None)
    }
}

fn first_bracketed(input: &[u8]) -> Found {
    let depth = |end: usize| -> i64 {
        input[..end].iter().map(|byte| i64::from(*byte == b'(') - i64::from(*byte == b')')).sum()
    };
    match (1..=input.len()).find(|&end| depth(end) <= 0) {
        Some(end) if depth(end) < 0 => Err(FrameError::invalid("a bracket that nothing opens")),
        end => Ok(end.map(|end| (input[..end].to_vec(), end))),
    }
}

fn text(alphabet: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    vec(prop::sample::select(alphabet), 0..200)
}

fn cuts() -> impl Strategy<Value = Vec<Index>> {
    vec(any::<Index>(), 0..12)
}

proptest! {
    #[test]
    fn a_byte_string_ends_frames(input in text(b"ab"), delimiter in vec(prop::sample::select(b"ab"), 1..5), cuts in cuts()) {
        let expected = model(&input, |input| first_ended_by(&delimiter, input));
        check(|| delimiter.clone().into(), &input, &cuts, &expected)?;
    }

    #[test]
    fn a_count_gives_frames_of_that_size(input in vec(any::<u8>(), 0..200), count in 1_usize..50, cuts in cuts()) {
        let expected = model(&input, |input| first_of_count(count, input));
        check(|| count.into(), &input, &cuts, &expected)?;
        let expected = model(&input, |input| first_of_count(8, input));
        check(Delimiter::of::<[u16; 4]>, &input, &cuts, &expected)?;
    }

    #[test]
    fn a_length_prefix_gives_what_it_announces(
        input in vec(prop_oneof![4 => Just(0_u8), 4 => 0..30_u8, 1 => any::<u8>()], 0..200),
        width in 0..4_u32,
        big: bool,
        included: bool,
        max in prop_oneof![0..300_usize, Just(1 << 16), Just(usize::MAX)],
        cuts in cuts(),
    ) {
        let prefix = match (width, big) {
            (0, _) => LengthPrefix::u8(),
            (1, true) => LengthPrefix::u16_be(),
            (1, false) => LengthPrefix::u16_le(),
            (2, true) => LengthPrefix::u32_be(),
            (2, false) => LengthPrefix::u32_le(),
            (_, true) => LengthPrefix::u64_be(),
            (_, false) => LengthPrefix::u64_le(),
        };
        let prefix = if included { prefix.max(max).header_included() } else { prefix.max(max) };
        // A length past the address space is too long for any maximum; the model reaches it only with the largest.
        prop_assume!(max != usize::MAX || width < 3);
        let expected = model(&input, |input| first_with_length(1 << width, big, included, max, input));
        check(|| prefix.into(), &input, &cuts, &expected)?;
    }

    #[test]
    fn a_separating_pattern_ends_frames(input in text(b"ab\r\n"), cuts in cuts()) {
        let pattern = Pattern::separating(r"\r?\n").unwrap();
        let expected = model(&input, |input| {
            let found = first_ended_by(b"\n", input)?;
            Ok(found.map(|(data, end)| (data.strip_suffix(b"\r").unwrap_or(&data).to_vec(), end)))
        });
        check(|| (&pattern).into(), &input, &cuts, &expected)?;
    }

    #[test]
    fn a_matching_pattern_gives_its_matches(input in text(b"aaab;;"), cuts in cuts()) {
        let pattern = Pattern::matching("a*;").unwrap();
        let expected = model(&input, |input| {
            let end = input.iter().take_while(|byte| **byte == b'a').count() + 1;
            Ok((input.get(end - 1) == Some(&b';')).then(|| (input[..end].to_vec(), end)))
        });
        check(|| (&pattern).into(), &input, &cuts, &expected)?;
    }

    #[test]
    fn a_framer_of_ones_own_gives_what_it_says(input in text(b"((())x"), cuts in cuts()) {
        let expected = model(&input, first_bracketed);
        check(|| Delimiter::framer(Brackets::default()), &input, &cuts, &expected)?;
    }

    #[test]
    fn without_a_delimiter_every_piece_is_a_frame(input in vec(any::<u8>(), 0..200), cuts in cuts()) {
        let pieces = split(&input, &cuts);
        for make in [Delimiter::none, || "".into(), || 0.into(), Delimiter::of::<()>] {
            let outcome = feed(&mut Framing::new(make(), 10), pieces.iter().copied());
            let expected: Vec<_> = pieces.iter().filter(|piece| !piece.is_empty()).map(|piece| piece.to_vec()).collect();
            prop_assert_eq!(outcome, Outcome { frames: expected, ..Outcome::default() });
        }
    }

    #[test]
    fn the_limit_is_the_same_however_the_input_comes(
        input in vec(prop::sample::select(b"aaaaaa\n"), 0..200),
        limit in 0_usize..20,
        cuts in cuts(),
    ) {
        let whole = feed(&mut Framing::new("\n".into(), limit), [&input[..]]);
        for pieces in [input.chunks(1).collect(), split(&input, &cuts)] {
            let outcome = feed(&mut Framing::new("\n".into(), limit), pieces);
            prop_assert_eq!((&outcome.frames, outcome.overflow), (&whole.frames, whole.overflow));
            prop_assert!(whole.rest.starts_with(&outcome.rest));
            prop_assert_eq!(outcome.overflow, outcome.rest.len() > limit);
        }
        prop_assert!(whole.frames.iter().all(|frame| frame.len() < limit));
    }

    /// A handler that pauses after any frame, and changes between two delimiters at will.
    #[test]
    fn pauses_and_new_delimiters_lose_nothing(
        input in text(b"ab\n"),
        cuts in cuts(),
        acts in vec((any::<bool>(), any::<bool>()), 1..50),
    ) {
        let delimiter = |by_count: bool| -> Delimiter { if by_count { 3.into() } else { "\n".into() } };
        let mut by_count = false;
        let mut framing = Framing::new(delimiter(by_count), LIMIT);
        let mut rest = &input[..];
        let mut acts = acts.iter().cycle();
        for piece in split(&input, &cuts) {
            let mut input = Input::new(piece);
            let mut paused = false;
            loop {
                if std::mem::take(&mut paused) {
                    framing.keep(&mut input);
                    input = Input::new(b"");
                }
                let Next::Frame(frame) = framing.next(&mut input) else { break };
                let found = if by_count { first_of_count(3, rest) } else { first_ended_by(b"\n", rest) };
                let (data, end) = found.unwrap().expect("a frame that the model finds");
                prop_assert_eq!(frame.data(), data);
                rest = &rest[end..];
                let &(change, pause) = acts.next().unwrap();
                if change {
                    by_count = !by_count;
                    framing.set_delimiter(delimiter(by_count));
                }
                paused = pause;
            }
        }
        prop_assert_eq!(framing.bytes(), rest);
        let more = if by_count { first_of_count(3, rest) } else { first_ended_by(b"\n", rest) };
        prop_assert_eq!(more, Ok(None));
    }
}

#[test]
fn frames_that_come_whole_are_cut_out_of_the_input_itself() {
    let mut framing = Framing::new("\n".into(), LIMIT);
    let bytes = b"one\ntwo\nthr";
    let mut input = Input::new(bytes);
    for expected in [&bytes[0..3], &bytes[4..7]] {
        let Next::Frame(frame) = framing.next(&mut input) else { panic!("a frame is there") };
        assert!(std::ptr::eq(frame.data(), expected));
    }
    assert!(matches!(framing.next(&mut input), Next::More));
    assert_eq!(framing.bytes(), b"thr");
}

#[test]
fn behind_a_frame_from_two_reads_the_others_are_cut_out_of_the_input_again() {
    for delimiter in [Delimiter::from("\n"), Delimiter::regex("\n").unwrap()] {
        let mut framing = Framing::new(delimiter, LIMIT);
        feed(&mut framing, [&b"on"[..]]);
        let bytes = b"e\ntwo\nthr";
        let mut input = Input::new(bytes);
        let Next::Frame(frame) = framing.next(&mut input) else { panic!("a frame is there") };
        assert_eq!(frame.data(), b"one");
        let Next::Frame(frame) = framing.next(&mut input) else { panic!("a frame is there") };
        assert!(std::ptr::eq(frame.data(), &bytes[2..5]));
        assert!(matches!(framing.next(&mut input), Next::More));
        assert_eq!(framing.bytes(), b"thr");
    }
}

#[test]
fn a_framer_of_ones_own_is_shown_a_read_at_once() {
    /// Reports how much it is shown.
    struct Line(std::sync::mpsc::Sender<usize>);

    impl Framer for Line {
        fn next_frame(&mut self, input: &[u8]) -> Result<Option<Frame>, FrameError> {
            self.0.send(input.len()).unwrap();
            Ok(input.iter().position(|&byte| byte == b'\n').map(|end| Frame::new(0..end, end + 1)))
        }
    }

    let mut read = vec![b'x'; READ_BUFFER_BYTES];
    read[0] = b'\n';
    let (sender, shown) = std::sync::mpsc::channel();
    let mut framing = Framing::new(Delimiter::framer(Line(sender)), LIMIT);
    feed(&mut framing, [&b"begin"[..], &read]);
    assert_eq!(shown.try_iter().collect::<Vec<_>>(), [5, 5 + READ_BUFFER_BYTES, READ_BUFFER_BYTES - 1]);
}

#[test]
fn a_framer_is_asked_again_only_when_more_has_come() {
    let mut framing = Framing::new(Delimiter::framer(Brackets::default()), LIMIT);
    feed(&mut framing, [&b"(a"[..]]);
    assert!(matches!(framing.next(&mut Input::new(b"")), Next::More));
    assert_eq!(feed(&mut framing, [&b")"[..]]).frames, [b"(a)"]);
}

#[test]
fn what_is_kept_behind_a_part_of_a_frame_is_searched() {
    let mut framing = Framing::new("\n".into(), LIMIT);
    feed(&mut framing, [&b"ab"[..]]);
    framing.keep(&mut Input::new(b"c\nd"));
    let outcome = feed(&mut framing, [&b""[..]]);
    assert_eq!((outcome.frames, outcome.rest), (vec![b"abc".to_vec()], b"d".to_vec()));
}

#[test]
fn a_new_delimiter_is_asked_about_what_is_kept() {
    let mut framing = Framing::new("\n".into(), LIMIT);
    feed(&mut framing, [&b"abcde"[..]]);
    framing.set_delimiter(2.into());
    assert_eq!(feed(&mut framing, [&b""[..]]).frames, [b"ab", b"cd"]);
    framing.set_delimiter(Delimiter::none());
    assert!(!framing.is_idle());
    assert_eq!(feed(&mut framing, [&b""[..]]).frames, [b"e"]);
    assert!(framing.is_idle());
}

#[test]
fn an_overflow_and_an_error_leave_everything_to_be_read() {
    let input = vec![b'x'; READ_BUFFER_BYTES];
    let mut framing = Framing::new("\n".into(), 100);
    assert_eq!(feed(&mut framing, [&input[..100]]), Outcome { rest: input[..100].to_vec(), ..Outcome::default() });
    let outcome = feed(&mut framing, [&input[..]]);
    assert!(outcome.overflow);
    assert_eq!(outcome.rest.len(), 100 + input.len());
    assert!(matches!(framing.next(&mut Input::new(b"")), Next::Overflow));

    let mut framing = Framing::new(Delimiter::framer(Brackets::default()), LIMIT);
    let outcome = feed(&mut framing, [&b"(a))b"[..]]);
    assert_eq!(outcome.frames, [b"(a)"]);
    assert_eq!(outcome.error, Some(FrameError::invalid("a bracket that nothing opens")));
    assert_eq!(outcome.rest, b")b");
}

#[test]
fn a_framer_that_does_not_keep_to_the_terms_ends_the_connection_and_nothing_else() {
    struct Fixed(Frame);

    impl Framer for Fixed {
        fn next_frame(&mut self, _input: &[u8]) -> Result<Option<Frame>, FrameError> {
            Ok(Some(self.0.clone()))
        }
    }

    let (start, end) = (2, 1);
    for frame in [Frame::new(0..0, 0), Frame::new(0..4, 4), Frame::new(0..2, 1), Frame::new(start..end, 3)] {
        let mut framing = Framing::new(Delimiter::framer(Fixed(frame)), LIMIT);
        let outcome = feed(&mut framing, [&b"abc"[..]]);
        assert!(matches!(outcome.error, Some(FrameError::Invalid(_))), "{outcome:?}");
        assert_eq!(outcome.rest, b"abc");
    }
}

#[test]
fn groups_are_there_for_a_frame_from_two_reads() {
    let mut framing = Framing::new(Delimiter::regex(r"(\d)(?<end>;)").unwrap(), LIMIT);
    feed(&mut framing, [&b"ab1"[..]]);
    let mut input = Input::new(b";c2;");
    for (data, number) in [(&b"ab"[..], b"1"), (b"c", b"2")] {
        let Next::Frame(frame) = framing.next(&mut input) else { panic!("a frame is there") };
        assert_eq!(frame.data(), data);
        assert_eq!((frame.get(1), frame.name("end")), (Some(&number[..]), Some(&b";"[..])));
    }
}

#[test]
#[cfg_attr(miri, ignore = "16 million reads take too long")]
fn a_line_of_16_mib_that_comes_byte_by_byte_takes_time_in_its_length_only() {
    // With a search from the start each time, or a copy of all that is there, this would not end.
    const LINE: usize = 16 << 20;
    let mut framing = Framing::new("\n".into(), LINE + 1);
    for _ in 0..LINE {
        assert!(matches!(framing.next(&mut Input::new(b"x")), Next::More));
    }
    let mut input = Input::new(b"\n");
    let Next::Frame(frame) = framing.next(&mut input) else { panic!("the line is whole") };
    assert_eq!(frame.data().len(), LINE);
    assert!(matches!(framing.next(&mut input), Next::More));
    assert!(framing.bytes().is_empty());
}

#[test]
fn a_framing_moves_between_threads() {
    fn moves<T: Send>(value: T) -> T {
        value
    }
    let mut framing = moves(Framing::new(Delimiter::regex("\n").unwrap(), LIMIT));
    assert_eq!(std::thread::spawn(move || feed(&mut framing, [&b"a\n"[..]])).join().unwrap().frames, [b"a"]);
}
