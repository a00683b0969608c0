//! Where this program prints. Unlike the macros of the standard library, it does not panic if
//! nobody reads: `postern-local keys list | head -1`.

use std::{
    fmt,
    io::{self, Write as _},
    process,
};

/// The exit code of a program that `SIGPIPE` ends, as a shell shows it. Rust ignores the signal.
const PIPE_CLOSED: i32 = 128 + 13;

/// Prints a line.
macro_rules! line {
    ($($argument:tt)*) => {
        crate::output::print(format_args!("{}\n", format_args!($($argument)*)))
    };
}

/// Prints a text unchanged.
macro_rules! text {
    ($($argument:tt)*) => { crate::output::print(format_args!($($argument)*)) };
}

/// Prints a line beside the answers.
macro_rules! to_stderr {
    ($($argument:tt)*) => {
        crate::output::print_to_stderr(format_args!("{}\n", format_args!($($argument)*)))
    };
}

pub(crate) use {line, text, to_stderr};

/// Prints to standard output, and ends the program if that is impossible: without a word if its
/// reader has ended.
pub(crate) fn print(text: fmt::Arguments<'_>) {
    let mut output = io::stdout().lock();
    match output.write_fmt(text).and_then(|()| output.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => process::exit(PIPE_CLOSED),
        Err(error) => {
            print_to_stderr(format_args!("postern-local: writing to standard output: {error}\n"));
            process::exit(1)
        }
    }
}

/// Prints to standard error. If that is impossible, nobody can be told.
pub(crate) fn print_to_stderr(text: fmt::Arguments<'_>) {
    let _ = io::stderr().write_fmt(text);
}
