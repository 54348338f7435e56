"""TLS: who the guest is, what is spoken, and what a broken or cut stream gives."""

import ssl
from contextlib import nullcontext, suppress
from ipaddress import ip_address
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from beds import GUEST, Authority, Certificates
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from flows import tls_guest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sso_mechs.tls import Acceptor, Initiator, end_point, server_context, spki_pin

from sso.errors import ConfigError, MechanismError


def handshake(client: Initiator, guest: Acceptor) -> tuple[Initiator, Acceptor]:
    token = client.step(b"")
    for _ in range(4):
        token = guest.step(token)
        if client.complete and not token:
            break
        token = client.step(token)
    return client, guest


def joined(certificates: Certificates, **who: Any) -> tuple[Initiator, Acceptor]:
    who = who or {"name": GUEST, "ca_file": str(certificates.ca)}
    return handshake(Initiator(**who), Acceptor(**tls_guest(certificates)))


@pytest.mark.proves("S117")
def test_a_name_and_a_ca_prove_the_guest(certificates: Certificates) -> None:
    client, guest = joined(certificates)
    assert client.complete
    assert guest.complete
    assert (client.peer, guest.peer) == (GUEST, "")
    assert client.layer == guest.layer == "conf"
    assert client.binding == guest.binding != b""
    assert client._tls.version() == "TLSv1.3"
    assert client._tls.selected_alpn_protocol() == "sso/1"


def test_a_pin_proves_the_guest_without_a_ca(certificates: Certificates) -> None:
    client, _ = joined(certificates, pins=(bytes(32), certificates.guest.pin))
    assert client.peer == "pin-sha256:" + certificates.guest.pin.hex()


def test_a_pin_counts_beside_a_name(certificates: Certificates) -> None:
    client, _ = joined(certificates, name=GUEST, ca_file=str(certificates.ca), pins=(certificates.guest.pin,))
    assert client.peer == GUEST


@pytest.mark.parametrize(
    ("who", "shown"),
    [
        ({"pins": (bytes(32),)}, "guest"),
        ({"pins": (bytes(32),), "name": GUEST, "ca_file": "ca"}, "guest"),
        ({"name": GUEST, "ca_file": "ca"}, "other_name"),
        ({"name": GUEST, "ca_file": "ca"}, "expired"),
        ({"name": GUEST, "ca_file": "ca"}, "other_issuer"),
        ({"name": GUEST, "ca_file": "other_ca"}, "guest"),
        ({"name": "test.example", "ca_file": "ca"}, "guest"),
        ({"name": "*.test.example", "ca_file": "ca"}, "guest"),
        ({"name": GUEST}, "guest"),  # the system's own CAs do not know ours
    ],
)
def test_who_is_not_the_guest(certificates: Certificates, who: dict[str, Any], shown: str) -> None:
    if "ca_file" in who:
        who = who | {"ca_file": str(getattr(certificates, who["ca_file"]))}
    client, guest = Initiator(**who), Acceptor(**tls_guest(certificates, shown))
    with pytest.raises(MechanismError) as caught:
        handshake(client, guest)
    assert caught.value.cause == "certificate"
    assert not client.complete
    assert client.peer == ""


IP = "192.0.2.1"
DNS, WILDCARD = x509.DNSName, x509.DNSName("*.test.example")


@pytest.mark.parametrize(
    ("common_name", "sans", "name", "fits"),
    [
        (GUEST, [], GUEST, False),
        (IP, [], IP, False),
        ("*.test.example", [], GUEST, False),
        (GUEST, [DNS("other.test.example")], GUEST, False),
        (GUEST, [x509.RFC822Name("root@" + GUEST)], GUEST, False),  # a SAN, and no host's name in it
        (GUEST, [x509.IPAddress(ip_address(IP))], GUEST, False),
        (IP, [DNS(GUEST)], IP, False),
        (GUEST, [DNS(IP)], IP, False),
        ("anything", [DNS(GUEST)], GUEST, True),
        ("anything", [DNS("other.test.example"), DNS(GUEST)], GUEST, True),
        ("anything", [WILDCARD], GUEST, True),
        ("anything", [WILDCARD], "deep." + GUEST, False),
        ("anything", [WILDCARD], "test.example", False),
        ("anything", [DNS("g*.test.example")], GUEST, False),
        ("anything", [x509.IPAddress(ip_address(IP))], IP, True),
        (GUEST, [x509.IPAddress(ip_address("192.0.2.2"))], IP, False),
    ],
)
def test_a_name_counts_in_the_san_alone(
    tmp_path: Path, common_name: str, sans: list[x509.GeneralName], name: str, fits: bool
) -> None:
    """Real certificates: a common name that the CA did not verify is not a host name."""
    authority = Authority("Test CA")
    identity = authority.issue(tmp_path / "guest", common_name, sans=sans)
    ca = authority.save(tmp_path / "ca.pem")
    context = server_context(str(identity.certificate), str(identity.key))
    client, guest = Initiator(name=name, ca_file=str(ca)), Acceptor(context=context)
    with nullcontext() if fits else pytest.raises(MechanismError, match=r"^certificate: "):
        handshake(client, guest)
    assert (client.complete, client.peer) == (fits, name if fits else "")


@pytest.mark.parametrize("who", [{}, {"ca_file": "/ca.pem"}, {"ca_file": "/ca.pem", "pins": (bytes(32),)}])
def test_an_identity_has_to_be_named(who: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Initiator(**who)


def test_unverified_names_nobody(certificates: Certificates) -> None:
    client, _ = joined(certificates, unverified=True)
    assert client.complete
    assert client.peer == ""


@pytest.mark.parametrize("what", ["TLS 1.2", "no ALPN", "another ALPN"])
def test_what_the_guest_does_not_speak(certificates: Certificates, what: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if what == "TLS 1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    if what != "no ALPN":
        context.set_alpn_protocols(["sso/1" if what == "TLS 1.2" else "h2"])
    guest = Acceptor(**tls_guest(certificates))
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    stranger = context.wrap_bio(down, up)

    def shake_hands() -> None:
        for _ in range(3):
            with suppress(ssl.SSLWantReadError):
                stranger.do_handshake()
            down.write(guest.step(up.read()))

    with pytest.raises(MechanismError) as caught:
        shake_hands()
    assert caught.value.cause == "tls"
    assert not guest.complete
    # CPython's ssl has no alert for another ALPN: the handshake completes, and nothing follows.
    assert caught.value.token[:1] == (b"\x15" if what == "TLS 1.2" else b"")


def hello(**who: Any) -> bytes:
    return Initiator(**who).step(b"")


def test_the_name_of_the_guest_is_its_sni() -> None:
    sni = GUEST.encode()
    assert sni in hello(name=GUEST)
    assert sni in hello(name=GUEST, pins=(bytes(32),))
    assert sni not in hello(pins=(bytes(32),))
    assert IP.encode() not in hello(name=IP)


@pytest.mark.parametrize("name", ["other.test.example", None])
def test_a_guest_ignores_sni(certificates: Certificates, name: str | None) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["sso/1"])
    guest = Acceptor(**tls_guest(certificates))
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    stranger = context.wrap_bio(down, up, server_hostname=name)
    for _ in range(2):
        with suppress(ssl.SSLWantReadError):
            stranger.do_handshake()
        down.write(guest.step(up.read()))
    assert guest.complete
    assert end_point(stranger.getpeercert(True) or b"") == guest.binding


def test_nothing_outlives_the_session(certificates: Certificates) -> None:
    """No session ticket: the guest's first flight behind the handshake is empty."""
    client, guest = Initiator(name=GUEST, ca_file=str(certificates.ca)), Acceptor(**tls_guest(certificates))
    answer = guest.step(client.step(b""))
    assert guest.step(client.step(answer)) == b""
    assert guest.complete
    assert client._tls.session is None or not client._tls.session.has_ticket


@given(plain=st.binary(max_size=50000), chunk=st.integers(1, 20000))
@settings(max_examples=20, suppress_health_check=list(HealthCheck))
def test_any_bytes_at_any_chunking(certificates: Certificates, plain: bytes, chunk: int) -> None:
    client, guest = joined(certificates)
    sealed = client.wrap(plain) if plain else b""
    parts = [guest.unwrap(sealed[start : start + chunk]) for start in range(0, len(sealed), chunk)]
    assert b"".join(parts) == plain


@pytest.mark.parametrize("place", range(0, 60, 3))
def test_a_tampered_record_is_refused(certificates: Certificates, place: int) -> None:
    client, guest = joined(certificates)
    sealed = bytearray(client.wrap(b"a line of the protocol, and more of it\n"))
    sealed[place] ^= 1
    if place in (3, 4):
        return  # another length: the record is waited for or the next one breaks
    with pytest.raises(MechanismError) as caught:
        guest.unwrap(bytes(sealed))
    assert caught.value.cause == "tls"


def test_replayed_reordered_and_reflected_records_are_refused(certificates: Certificates) -> None:
    for order in ((0, 0), (1, 0), (1,)):
        client, guest = joined(certificates)
        sealed = [client.wrap(b"one\n"), client.wrap(b"two\n")]
        for index in order[:-1]:
            with suppress(MechanismError):
                guest.unwrap(sealed[index])
        with pytest.raises(MechanismError):
            guest.unwrap(sealed[order[-1]])
    client, guest = joined(certificates)
    with pytest.raises(MechanismError):
        client.unwrap(client.wrap(b"mine\n"))


def test_records_of_another_session_are_refused(certificates: Certificates) -> None:
    (client, _), (_, guest) = joined(certificates), joined(certificates)
    with pytest.raises(MechanismError):
        guest.unwrap(client.wrap(b"foreign\n"))


def test_a_close_notify_ends_the_stream_and_gives_nothing(certificates: Certificates) -> None:
    client, guest = joined(certificates)
    assert not guest.ended
    assert guest.unwrap(client.wrap(b"last\n") + client.finish()) == b"last\n"
    assert guest.ended and not client.ended
    assert guest.unwrap(b"") == b""
    assert client.unwrap(guest.finish()) == b"" and client.ended


def test_both_directions_stand_side_by_side(certificates: Certificates) -> None:
    client, guest = joined(certificates)
    for text in (b"one", b"two"):
        assert bytes(guest.unwrap(client.wrap(text))) == text
        assert bytes(client.unwrap(guest.wrap(text))) == text


@given(noise=st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=3), server=st.booleans())
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
def test_noise_in_the_handshake(certificates: Certificates, noise: list[bytes], server: bool) -> None:
    half: Any = Acceptor(**tls_guest(certificates)) if server else Initiator(unverified=True)
    if not server:
        half.step(b"")
    try:
        for part in noise:
            half.step(part)
    except MechanismError:
        pass
    assert not half.complete


# The certificate itself


def test_pin_and_end_point_are_those_of_the_rfcs(certificates: Certificates) -> None:
    certificate = x509.load_pem_x509_certificate(certificates.guest.certificate.read_bytes())
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert spki_pin(der) == certificates.guest.pin
    assert end_point(der) == certificate.fingerprint(hashes.SHA256())
    _, binding = server_context(str(certificates.guest.certificate), str(certificates.guest.key))
    assert binding == end_point(der)


def sign(algorithm: str, kind: str) -> x509.Certificate:
    import datetime

    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    key: Any = {
        "ec": lambda: ec.generate_private_key(ec.SECP384R1()),
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "ed": ed25519.Ed25519PrivateKey.generate,
    }[kind]()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(1))
    return builder.sign(key, None if kind == "ed" else getattr(hashes, algorithm)())


@pytest.mark.parametrize(("algorithm", "kind"), list(product(["SHA256", "SHA384", "SHA512"], ["ec", "rsa"])))
def test_the_end_point_follows_the_signature(algorithm: str, kind: str) -> None:
    certificate = sign(algorithm, kind)
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert end_point(der) == certificate.fingerprint(getattr(hashes, algorithm)())


def test_an_ed25519_certificate_has_no_end_point() -> None:
    der = sign("", "ed").public_bytes(serialization.Encoding.DER)
    assert len(spki_pin(der)) == 32
    with pytest.raises(MechanismError, match="5929"):
        end_point(der)


@given(st.binary(max_size=100))
def test_a_certificate_that_cannot_be_read(noise: bytes) -> None:
    for act in (spki_pin, end_point):
        with pytest.raises(MechanismError):
            act(noise)


@pytest.mark.parametrize("what", ["no file", "no certificate", "another key"])
def test_a_guest_that_is_not_set_up(certificates: Certificates, tmp_path: Path, what: str) -> None:
    certificate, key = certificates.guest.certificate, certificates.guest.key
    if what == "no file":
        certificate = tmp_path / "none.pem"
    elif what == "no certificate":
        certificate = tmp_path / "empty.pem"
        certificate.write_text("nothing\n")
    else:
        key = certificates.other_name.key
    with pytest.raises(ConfigError):
        server_context(str(certificate), str(key))


def test_a_ca_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        Initiator(name=GUEST, ca_file=str(tmp_path / "none.pem"))
