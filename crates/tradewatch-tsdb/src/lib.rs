//! Label sets, samples, a head in memory and a log on disk.
