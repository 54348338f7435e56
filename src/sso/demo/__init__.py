"""The test bed that ships with the product: a throw-away realm, a private machine view and a terminal.

`sso demo` and the tests build on the same three classes, so what the demo shows is what the tests prove:
`realm.Realm` (an MIT KDC on loopback), `sandbox.Sandbox` (a mount namespace with an /etc of its own) and
`terminal.Terminal` (a program on a pseudo-terminal).
"""
