"""The protocol without I/O: messages, state table, greeting, layers, and the Session that joins them."""
