//! Values that must not be shown: passwords, keys, addresses that hold them.

use std::cell::Cell;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is shown instead.
const SHOWN: &str = "***";

/// What may be a secret: with the feature `zeroize` what can be overwritten, else anything.
#[cfg(not(feature = "zeroize"))]
pub trait Keepable {}
#[cfg(not(feature = "zeroize"))]
impl<T> Keepable for T {}

/// What may be a secret: with the feature `zeroize` what can be overwritten, else anything.
#[cfg(feature = "zeroize")]
pub trait Keepable: zeroize::Zeroize {}
#[cfg(feature = "zeroize")]
impl<T: zeroize::Zeroize> Keepable for T {}

/// A value that is read from a configuration and never shown: `Debug`, `Display` and `Serialize` write `***`.
///
/// [`Secret::expose`] is the only way to it, so that its uses can be found by that word. With the feature `zeroize`
/// its memory is overwritten when it is dropped.
///
/// ```
/// use tradewatch_instrument::{Secret, secret};
/// #[derive(serde::Serialize, serde::Deserialize, Debug)]
/// struct Broker { key_id: String, secret_key: Secret<String> }
///
/// let broker: Broker = serde_json::from_str(r#"{"key_id": "PK1", "secret_key": "s3cret"}"#)?;
/// assert_eq!(broker.secret_key.expose(), "s3cret");
/// assert_eq!(format!("{broker:?}"), r#"Broker { key_id: "PK1", secret_key: *** }"#);
/// assert_eq!(serde_json::to_string(&broker)?, r#"{"key_id":"PK1","secret_key":"***"}"#);
/// // To hand a configuration on, to a child process, say:
/// assert!(secret::revealed(|| serde_json::to_string(&broker))?.contains("s3cret"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret<T: Keepable>(T);

impl<T: Keepable> Secret<T> {
    /// Keeps `value`.
    pub fn new(value: T) -> Secret<T> {
        Secret(value)
    }

    /// The value. Name no variable after what it is and log nothing of it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Keepable> From<T> for Secret<T> {
    fn from(value: T) -> Secret<T> {
        Secret(value)
    }
}

impl From<&str> for Secret<String> {
    fn from(value: &str) -> Secret<String> {
        Secret(value.to_owned())
    }
}

impl<T: Keepable> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHOWN)
    }
}

impl<T: Keepable> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHOWN)
    }
}

thread_local! {
    static REVEALED: Cell<u32> = const { Cell::new(0) };
}

/// Serializes in `write`, on this thread, what secrets hold: for a file that a child process or the next start reads.
///
/// It is no log, page or answer that is written so.
pub fn revealed<R>(write: impl FnOnce() -> R) -> R {
    struct Hide;
    impl Drop for Hide {
        fn drop(&mut self) {
            REVEALED.set(REVEALED.get() - 1);
        }
    }
    REVEALED.set(REVEALED.get() + 1);
    let _hide = Hide;
    write()
}

impl<T: Keepable + Serialize> Serialize for Secret<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if REVEALED.get() > 0 { self.0.serialize(serializer) } else { serializer.serialize_str(SHOWN) }
    }
}

impl<'de, T: Keepable + Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret<T>, D::Error> {
        T::deserialize(deserializer).map(Secret)
    }
}

#[cfg(feature = "zeroize")]
impl<T: Keepable> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_shown_again_after_a_panic_only_as_stars() {
        let key = Secret::from("hunter2");
        let caught = std::panic::catch_unwind(|| revealed(|| panic!("on purpose")));
        assert!(caught.is_err());
        assert_eq!(serde_json::to_string(&key).expect("a text"), "\"***\"");
        assert_eq!(format!("{key} {key:?} {:?}", Some(&key)), "*** *** Some(***)");
        assert_eq!(revealed(|| serde_json::to_string(&Some(&key))).expect("a text"), "\"hunter2\"");
    }
}
