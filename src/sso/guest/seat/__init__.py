"""Which users are signed in at the seat, from logind or utmp."""
