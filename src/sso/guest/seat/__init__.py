"""Who sits at the seat, as the system tells."""
