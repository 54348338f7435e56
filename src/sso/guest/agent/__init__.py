"""The root process: rules, users, grants."""
