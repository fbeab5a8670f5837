"""A box without privileges: an SSH server on loopback as the same user, with a scratch HOME of its own."""
