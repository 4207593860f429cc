//! Trading sessions of exchanges, with an explicit horizon.
