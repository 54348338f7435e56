"""One end of the talk, from lines to sessions; no I/O."""
