"""The process that holds the keytab, and its workers."""
