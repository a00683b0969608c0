//! Everything that is logged in the whole test run, at TRACE, looked through as it is written.

use std::{
    io,
    sync::{Arc, Mutex, Once, OnceLock},
};

use regex::bytes::Regex;
use tracing_subscriber::fmt::MakeWriter;

static INSTALL: Once = Once::new();
static OURS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Listens to every line of every crate from now on. A secret in one of them ends the whole run.
pub fn install() {
    INSTALL.call_once(|| {
        let subscriber =
            tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(Listener);
        tracing::subscriber::set_global_default(subscriber.with_ansi(false).finish())
            .expect("the only subscriber");
    });
}

/// Was such a line of ours logged?
pub fn logged(parts: &[&str]) -> bool {
    OURS.lock().unwrap().iter().any(|line| parts.iter().all(|part| line.contains(part)))
}

/// Does `line` hold a credential of ours?
pub fn holds_secret(line: &[u8]) -> bool {
    static FORMS: OnceLock<[Regex; 2]> = OnceLock::new();
    let [candidates, forms] = FORMS.get_or_init(|| {
        let jwt = r"ey[0-9A-Za-z_-]{10,}\.ey[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]{10,}";
        let session = r"eyJzaWQi[0-9A-Za-z_-]{20,}\.[0-9A-Za-z_-]{43}";
        let forms = format!("{}|{jwt}|{session}", postern::credential::PATTERN);
        // Plain words first: most lines hold none of them.
        [r"_ac_|_ak_|_as_|_ct_|_dc_|_op_|_rn_|_rt_|_sk_|_st_|\.ey|eyJzaWQi", &forms]
            .map(|forms| Regex::new(forms).expect("an expression"))
    });
    candidates.is_match(line) && forms.is_match(line)
}

#[derive(Clone, Copy)]
struct Listener;

impl io::Write for Listener {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if holds_secret(line) {
            // Tests run in threads of their own: a panic here would be one test's only.
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

/// Where one test's lines go.
#[derive(Clone, Debug, Default)]
pub struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    /// What was written.
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
