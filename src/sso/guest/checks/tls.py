"""Checks the TLS certificate: it matches its key, is valid now, and is for our name."""

import ssl
import time
from collections.abc import Iterator
from typing import Any

from sso.doctor import Finding, ok, warning, wrong
from sso.guest.checks.guest import ExaminedGuest

SOON = 14 * 86400  # seconds: warn if it expires sooner
ROUNDS = 10
NOT_YET, EXPIRED = 9, 10  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED (openssl-verify(1))


def certificate(guest: ExaminedGuest) -> Iterator[Finding]:
    """Check the certificate and the key that guest.toml names."""
    config = guest.config
    if not config.tls_certificate:
        yield ok("no certificate is configured: Kerberos protects the port by itself")
        return
    if "TLS" not in config.mechanisms:
        yield warning("a certificate is configured, and TLS is not among the mechanisms")
    paths = [config.tls_certificate, config.tls_key or config.tls_certificate]
    for path in dict.fromkeys(paths):
        if not guest.system.path(path).is_file():
            yield wrong(f"there is no {path}", f"Put it there, or write the right path in {guest.path}")
            return
    yield from _access(guest, paths[1])
    files = [str(guest.system.path(path)) for path in paths]
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        server.load_cert_chain(files[0], files[1], password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or "a password, or what is no PEM"
        yield wrong(
            f"{paths[0]} and {paths[1]} do not fit together ({reason})",
            f"Put the certificate of that key there, then: {guest.restart}",
        )
        return
    yield from _validity(guest, server, files[0])


def _no_password() -> str:
    raise ValueError("the key is locked by a password")


def _access(guest: ExaminedGuest, key: str) -> Iterator[Finding]:
    """Check that the channel's user can read the key, and nobody else."""
    found, name = guest.system.path(key).stat(), guest.config.channel_user
    user = guest.system.user(name)
    if found.st_mode & 0o007 or (user and found.st_uid not in (0, user.uid)):
        whose = f"{guest.system.user_name(found.st_uid)}, mode {found.st_mode & 0o777:03o}"
        yield wrong(f"{key} belongs to {whose}", f"Run: chown {name} {key} && chmod 600 {key}")
    elif user and found.st_uid != user.uid and not (found.st_gid == user.gid and found.st_mode & 0o040):
        yield wrong(f"{name} cannot read {key}", f"Run: chown {name} {key} && chmod 600 {key}")


def _validity(guest: ExaminedGuest, server: ssl.SSLContext, file: str) -> Iterator[Finding]:
    path, host = guest.config.tls_certificate, guest.config.spn.partition("/")[2].partition("@")[0]
    try:
        known = _shake_hands(server, file, None)
    except ssl.SSLCertVerificationError as error:
        when = {NOT_YET: "is not valid yet", EXPIRED: "has expired"}.get(error.verify_code)
        found = f"{path} {when or f'is refused: {error.verify_message}'}"
        yield wrong(found, f"Get a new certificate for the guest, put it there, then: {guest.restart}")
        return
    end = ssl.cert_time_to_seconds(known["notAfter"])
    names = ", ".join(value for _, value in known.get("subjectAltName", ()))
    until = time.strftime("%Y-%m-%d", time.gmtime(end))
    if end - time.time() < SOON:
        yield warning(f"{path} ends on {until}", "Get a new one soon")
    if not names:
        found = f"{path} has no subjectAltName: no name fits it, and clients need --tls-pin"
        yield warning(found, "Get a certificate with the guest's name as a subjectAltName")
        return
    try:
        if host:
            _shake_hands(server, file, host)
        yield ok(f"{path} for {names}, until {until}")
    except ssl.SSLCertVerificationError:
        yield warning(f"{path} is for {names}, and the service is {host}: clients need --tls-name or a pin")


def _shake_hands(server: ssl.SSLContext, file: str, host: str | None) -> dict[str, Any]:
    """Return the certificate as seen by a client that trusts only this file."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = host is not None
    client.hostname_checks_common_name = False
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(file)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(down, up, server_hostname=host)
    theirs = server.wrap_bio(up, down, server_side=True)
    for _ in range(ROUNDS):
        try:
            ours.do_handshake()
            break
        except ssl.SSLWantReadError:
            pass
        try:
            theirs.do_handshake()
        except ssl.SSLWantReadError:
            pass
    return ours.getpeercert() or {}
