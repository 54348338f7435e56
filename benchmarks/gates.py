"""What must not be lost: (case, our row, the peer's row, the most that ours / peer may be).

CEILINGS are of rows that are no ratios: what is promised in seconds, and what is no time at all. They are
(case, our row, the most that it may be).

A goal is what we want, a gate what we hold; each gate leaves room for a noisy machine.
"""

OURS = ("console-sso", "spice-client-sso", "compiled")

GATES = [
    ("authenticate, one a read", "compiled", "tuned stdlib", 0.8),
    ("secret of 16K, whole", "compiled", "tuned stdlib", 0.6),
    ("secret of 64K, in chunks of 4096", "compiled", "tuned stdlib", 0.6),
    # The goal is 1.3: what is above it is Python around the library, the work of a later issue.
    ("GSSAPI conf, TGT delegated and stored", "console-sso", "python-gssapi alone", 3.0),
    ("password over TLS 1.3", "console-sso", "ssl.MemoryBIO alone", 2.5),
    ("greetd: credential accepted to shell", "console-sso", "name typed, PAM asks nothing", 3.0),
    ("login: credential accepted to shell", "console-sso", "name typed, PAM asks nothing", 3.0),
    # The goal is 0.5.
    ("client process delivers a delegated TGT", "spice-client-sso", "ssh -K, curve25519, no shell", 0.9),
]

CEILINGS = [
    ("login: credential accepted to shell", "console-sso", 0.060),
    ("greetd: credential accepted to shell", "console-sso", 0.250),
    ("wake-ups a second of all processes, client: nobody", "console-sso", 10.0),
    ("Rss when idle", "agent", 25.0),  # MiB: what root holds
    # The goal is 2 seconds.
    ("SIGKILL to ready again, emulated", "console-sso-agent", 4.0),
    ("SIGKILL to ready again, emulated", "console-sso-channel", 4.0),
    ("SIGKILL to ready again, emulated", "console-sso-acceptor", 4.0),
]
