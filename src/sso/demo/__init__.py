"""The test bed that ships with the product: a throw-away realm, a private view of the machine, a terminal.

`sso demo` and the tests use the same three classes, so the demo shows what the tests prove: `realm.Realm`
(an MIT KDC on loopback), `sandbox.Sandbox` (a mount namespace with its own /etc) and `terminal.Terminal` (a
program on a pseudo-terminal).
"""
