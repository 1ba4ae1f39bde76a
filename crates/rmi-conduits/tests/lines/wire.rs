//! The model behind lines, without a process: what is written is answered immediately.

use std::collections::VecDeque;
use std::io::{self, BufReader, Read, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use rmi_conduits::lines::Lines;
use rmm_model::Options;
use rmm_model::protocol::Session;

#[derive(Clone)]
struct Wire(Arc<Mutex<Exchange>>);

struct Exchange {
    session: Session,
    line: String,
    answers: VecDeque<u8>,
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut exchange = self.0.lock().unwrap();
        exchange.line.push_str(&String::from_utf8_lossy(bytes));
        while let Some((line, rest)) = exchange.line.split_once('\n') {
            let (line, rest) = (line.to_owned(), rest.to_owned());
            let reply = exchange.session.line(&line);
            exchange.answers.extend(reply.text.bytes());
            exchange.line = rest;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.lock().unwrap().answers.read(into)
    }
}

/// A newly started model behind lines.
pub(crate) fn model(options: Options) -> Lines {
    let session = Session::new(options).unwrap();
    let answers = session.greeting().bytes().collect();
    let wire = Wire(Arc::new(Mutex::new(Exchange { session, line: String::new(), answers })));
    Lines::new(BufReader::new(wire.clone()), wire).unwrap()
}

/// Passes on to another end, and panics in one of its uses.
struct Panicking<W> {
    wire: W,
    countdown: Arc<AtomicU32>,
}

impl<W> Panicking<W> {
    fn pass(&mut self) -> &mut W {
        let before = self.countdown.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            Some(left.saturating_sub(1))
        });
        assert_ne!(before, Ok(1), "on purpose");
        &mut self.wire
    }
}

impl Write for Panicking<Wire> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pass().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass().flush()
    }
}

impl Read for Panicking<Wire> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.pass().read(into)
    }
}

/// As [`model`]; the use of an end panics that `countdown` counts down to.
pub(crate) fn panicking(options: Options, countdown: &Arc<AtomicU32>) -> Lines {
    let session = Session::new(options).unwrap();
    let answers = session.greeting().bytes().collect();
    let wire = Wire(Arc::new(Mutex::new(Exchange { session, line: String::new(), answers })));
    let end = || Panicking { wire: wire.clone(), countdown: Arc::clone(countdown) };
    Lines::new(BufReader::new(end()), end()).unwrap()
}
