//! What is told on the terminal. A terminal that is closed, or a pipe that nobody reads any more, ends nothing.

/// `print!` that ignores a closed terminal.
#[macro_export]
macro_rules! out {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = write!(std::io::stdout(), $($text)*);
    }};
}

/// `println!` that ignores a closed terminal.
#[macro_export]
macro_rules! outln {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}
