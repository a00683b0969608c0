//! Scans everything that is logged in the whole test run, at TRACE, for secrets.

use std::{
    io,
    sync::{Arc, Mutex, Once, OnceLock},
};

use regex::bytes::Regex;
use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::explained;

static INSTALL: Once = Once::new();
static OURS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Installs a subscriber for every line of every crate. A secret in one of them aborts the test
/// run.
pub fn install() {
    INSTALL.call_once(|| {
        let every_line = fmt::layer().with_ansi(false).with_writer(Listener);
        let ours = Targets::new().with_target("postern", LevelFilter::INFO);
        tracing_subscriber::registry()
            .with(every_line)
            .with(explained::layer().with_filter(ours))
            .try_init()
            .expect("the only subscriber");
    });
}

/// Reports whether one of our lines with all these parts was logged.
pub fn logged(parts: &[&str]) -> bool {
    OURS.lock().unwrap().iter().any(|line| parts.iter().all(|part| line.contains(part)))
}

/// Reports whether `line` contains one of our credentials.
pub fn contains_secret(line: &[u8]) -> bool {
    static FORMS: OnceLock<[Regex; 2]> = OnceLock::new();
    let [candidates, forms] = FORMS.get_or_init(|| {
        let jwt = r"ey[0-9A-Za-z_-]{10,}\.ey[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]{10,}";
        let session = r"eyJzaWQi[0-9A-Za-z_-]{20,}\.[0-9A-Za-z_-]{43}";
        let forms = format!("{}|{jwt}|{session}", postern::credential::PATTERN);
        // Cheap check first: most lines contain none of these.
        [r"_ac_|_ak_|_as_|_ct_|_dc_|_iv_|_op_|_rn_|_rt_|_sk_|_st_|\.ey|eyJzaWQi", &forms]
            .map(|forms| Regex::new(forms).expect("an expression"))
    });
    candidates.is_match(line) && forms.is_match(line)
}

#[derive(Clone, Copy)]
struct Listener;

impl io::Write for Listener {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if contains_secret(line) {
            // Each test runs in its own thread: a panic would fail only that test.
            io::Write::write_all(
                &mut io::stderr(),
                b"A SECRET WAS LOGGED, in a line that begins: ",
            )?;
            io::Write::write_all(&mut io::stderr(), &line[..line.len().min(120)])?;
            std::process::abort();
        }
        let text = String::from_utf8_lossy(line);
        if text.contains(" postern: ") {
            OURS.lock().unwrap().push(text.into_owned());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Listener {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

/// Collects the lines of one test.
#[derive(Clone, Debug, Default)]
pub struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    /// Returns what was written.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
