//! The derives of tradewatch-metrics.
