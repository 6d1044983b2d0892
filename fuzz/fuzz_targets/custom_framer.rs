//! Framers of a program's own: one that keeps to the terms, and one that says whatever the fuzzer wants.

#![no_main]

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use pants_engine::internals::{self, End};
use pants_engine::{Delimiter, Frame, FrameError, Framer};
use pants_fuzz::{Course, Expected, longest, stretch};

#[derive(Arbitrary, Debug)]
struct Case<'a> {
    /// What the wild framer answers; `None` when it has run out.
    answers: Option<Vec<Answer>>,
    limit: u16,
    course: Course,
    input: &'a [u8],
}

#[derive(Arbitrary, Clone, Debug)]
enum Answer {
    None,
    Error,
    /// A frame that is mostly one of the input.
    Near {
        start: u8,
        end: u8,
        consumed: u8,
    },
    /// A frame of any numbers at all.
    Far {
        start: usize,
        end: usize,
        consumed: usize,
    },
    /// A frame of all that is there.
    All,
}

fuzz_target!(|case: Case<'_>| {
    let input = stretch(case.input);
    let limit = usize::from(case.limit);
    match case.answers {
        Some(answers) => check_wild(&case.course, limit, &input, answers),
        None => {
            let expected = Expected::new(&input, limit, |input| {
                Ok(tame(input)?.map(|frame| (&input[frame.data.clone()], frame.consumed)))
            });
            expected.check(&input, limit, &case.course, || Delimiter::framer(Tame));
        }
    }
});

/// Keeps to the terms: a frame's first byte says how long its header, its data and its trailer are.
struct Tame;

impl Framer for Tame {
    fn next_frame(&mut self, input: &[u8]) -> Result<Option<Frame>, FrameError> {
        tame(input)
    }
}

fn tame(input: &[u8]) -> Result<Option<Frame>, FrameError> {
    let first = usize::from(input.first().copied().unwrap_or(0));
    let (header, data, trailer) = (1 + (first & 3), first >> 2 & 15, first >> 6);
    if (header, data, trailer) == (1, 0, 0) {
        return if input.is_empty() { Ok(None) } else { Err(FrameError::invalid("a frame begins with 0")) };
    }
    // Some frames are longer than what the driver gathers at a time.
    let end = header + if data == 15 { 1500 } else { data };
    Ok((end + trailer <= input.len()).then(|| Frame::new(header..end, end + trailer)))
}

/// Answers as it is told, checks what it is shown, and writes down what should come of it.
struct Wild {
    input: Vec<u8>,
    /// How much of the input has been received.
    come: Arc<AtomicUsize>,
    consumed: usize,
    limit: usize,
    answers: std::vec::IntoIter<Answer>,
    /// How much it was shown when it last saw no frame.
    seen: usize,
    record: Arc<Mutex<Record>>,
}

/// What should come of a wild framer's answers.
#[derive(Debug, Default)]
struct Record {
    frames: std::collections::VecDeque<Range<usize>>,
    consumed: usize,
    end: Option<Ending>,
}

#[derive(Debug)]
enum Ending {
    Overflow,
    Error,
    Refused,
}

impl Framer for Wild {
    fn next_frame(&mut self, input: &[u8]) -> Result<Option<Frame>, FrameError> {
        let mut record = self.record.lock().unwrap();
        assert!(record.end.is_none(), "it is asked after the end");
        assert!(!input.is_empty());
        assert_eq!(input, &self.input[self.consumed..self.come.load(Ordering::Relaxed)]);
        assert!(input.len() > std::mem::take(&mut self.seen), "it is asked again though no more has come");
        let frame = match self.answers.next().unwrap_or(Answer::None) {
            Answer::None => {
                self.seen = input.len();
                if input.len() > self.limit {
                    record.end = Some(Ending::Overflow);
                }
                return Ok(None);
            }
            Answer::Error => {
                record.end = Some(Ending::Error);
                return Err(FrameError::TooLong { limit: 7 });
            }
            Answer::Near { start, end, consumed } => Frame::new(start.into()..end.into(), consumed.into()),
            Answer::Far { start, end, consumed } => Frame::new(start..end, consumed),
            Answer::All => Frame::new(0..input.len(), input.len()),
        };
        let Range { start, end } = frame.data;
        if !(start <= end && end <= frame.consumed && (1..=input.len()).contains(&frame.consumed)) {
            record.end = Some(Ending::Refused);
        } else if frame.consumed > self.limit {
            record.end = Some(Ending::Overflow);
        } else {
            record.frames.push_back(self.consumed + start..self.consumed + end);
            self.consumed += frame.consumed;
            record.consumed = self.consumed;
        }
        Ok(Some(frame))
    }
}

fn check_wild(course: &Course, limit: usize, input: &[u8], answers: Vec<Answer>) {
    let come = Arc::new(AtomicUsize::new(0));
    let record = Arc::new(Mutex::new(Record::default()));
    let framer = Wild {
        input: input.to_vec(),
        come: Arc::clone(&come),
        consumed: 0,
        limit,
        answers: answers.into_iter(),
        seen: 0,
        record: Arc::clone(&record),
    };
    let split = course.split(input);
    let pieces = split.iter().copied().inspect(|piece| {
        come.fetch_add(piece.len(), Ordering::Relaxed);
    });
    let mut pauses = course.pauses();
    let cut = internals::cut(Delimiter::framer(framer), limit, pieces, |frame| {
        let range = record.lock().unwrap().frames.pop_front().expect("a frame that the framer gave");
        assert_eq!(frame.data(), &input[range]);
        pauses()
    });
    let record = record.lock().unwrap();
    assert!(record.frames.is_empty(), "a frame is missing");
    match &record.end {
        None => assert_eq!(cut.end, End::UsedUp),
        Some(Ending::Overflow) => assert_eq!(cut.end, End::Overflow),
        Some(Ending::Error) => assert_eq!(cut.end, End::Failed(FrameError::TooLong { limit: 7 })),
        Some(Ending::Refused) => assert!(matches!(cut.end, End::Failed(FrameError::Invalid(_))), "{:?}", cut.end),
    }
    assert_eq!(cut.rest, &input[record.consumed..come.load(Ordering::Relaxed)]);
    assert!(cut.most_kept <= limit + longest(&split), "{} bytes were kept", cut.most_kept);
}
