//! Scrapes, stores, answers, alerts and shows: everything with a socket or a clock.
