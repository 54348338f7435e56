"""The root process: it decides who is signed in, and hands out grants."""
