"""Gates, which a run must hold: (case, our row, the peer's row, the highest ratio of ours to the peer's).

CEILINGS are of rows that are no ratios: what is promised in seconds, and what is no time at all. They are
(case, our row, the most that it may be).

What we want is in figures.py; a gate is what we hold, and leaves room for a noisy machine.
"""

_SPAWNED = "client process delivers a delegated TGT"
_RECOVERY, _PROCESSES = "SIGKILL to ready again, emulated", ("agent", "channel", "acceptor")

GATES = [
    ("authenticate, one a read", "compiled", "tuned stdlib", 0.25),
    ("authenticate, one a read", "compiled", "msgspec (JSON lines)", 0.7),
    ("authenticate with types not known, one a read", "compiled", "tuned stdlib", 0.5),
    ("ok, 100 a read", "compiled", "msgspec (JSON lines)", 0.5),
    ("secret of 1K, whole", "compiled", "tuned + fastpybase64", 0.45),
    ("secret of 16K, whole", "compiled", "tuned + fastpybase64", 0.95),
    ("secret of 16K, whole", "compiled", "tuned stdlib", 0.1),
    ("secret of 64K, in chunks of 4096", "compiled", "tuned + fastpybase64", 0.95),
    ("secret of 64K, in chunks of 64", "compiled", "tuned + fastpybase64", 0.7),
    # The goal is 1.15: what is above it is the protocol in Python, cold behind each call of a library.
    ("GSSAPI conf, TGT delegated and stored", "console-sso", "python-gssapi alone", 2.2),
    ("password over TLS 1.3", "console-sso", "ssl.MemoryBIO alone", 2.0),
    ("greetd: credential accepted to shell", "console-sso", "name typed, PAM asks nothing", 3.0),
    ("login: credential accepted to shell", "console-sso", "name typed, PAM asks nothing", 3.0),
    # Not beside ssh over TCP, which waits twice 40 ms on any processor: that would gate the processor.
    (_SPAWNED, "spice-client-sso", "ssh -K, curve25519, no shell, no TCP", 3.0),
    (_SPAWNED, "spice-client-sso, .deb", "ssh -K, curve25519, no shell, no TCP", 2.5),
    (_SPAWNED, "spice-client-sso", "floor: python -I -S, import gssapi.raw", 1.3),
    *((_RECOVERY, f"console-sso-{name}", "python -I -S, ready at once", 6.0) for name in _PROCESSES),
]

CEILINGS = [
    # By callgrind, so the same in every run; other builds of Python differ by a tenth or so.
    ("instructions: authenticate", "avx2", 1000),
    ("instructions: authenticate", "scalar", 1000),
    ("instructions: ok", "avx2", 1000),
    ("instructions: ok", "scalar", 1000),
    ("instructions: secret of 16K", "avx2", 48_000),
    ("instructions: secret of 16K", "scalar", 185_000),
    ("login: credential accepted to shell", "console-sso", 0.060),
    ("greetd: credential accepted to shell", "console-sso", 0.250),
    ("wake-ups a second of all processes, client: nobody", "console-sso", 10.0),
    ("Rss when idle", "agent", 25.0),  # MiB: what root holds
]
