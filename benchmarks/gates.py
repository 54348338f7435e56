"""What must not be lost: (case, our row, the peer's row, the most that ours / peer may be).

A goal is what we want, a gate what we hold; each gate leaves room for a noisy machine.
"""

OURS = ("console-sso", "spice-client-sso", "compiled")

GATES = [
    ("GSSAPI conf, TGT delegated and stored", "console-sso", "python-gssapi alone", 1.8),  # goal 1.3
    ("password over TLS 1.3", "console-sso", "ssl.MemoryBIO alone", 2.5),
    (
        "client process delivers a delegated TGT",
        "spice-client-sso",
        "ssh -K, curve25519, no shell",
        0.9,
    ),  # goal 0.5
]
