//! Rules, alert states, routing and the texts people receive.
