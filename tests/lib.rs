//! Where the end-to-end tests find the binary and the servers.
