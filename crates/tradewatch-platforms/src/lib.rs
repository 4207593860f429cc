//! Reference trading platforms: real services, real events.
