"""The test bed's certificates are what they claim to be, in the eyes of the ssl module."""

import ssl

import pytest
from beds import GUEST, Certificates


def handshake(certificates: Certificates, shown: str) -> ssl.SSLObject:
    """A TLS 1.3 handshake in memory: a guest shows one of the certificates, a client trusts `ca`."""
    identity = getattr(certificates, shown)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(identity.certificate, identity.key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    client.load_verify_locations(certificates.ca)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(down, up, server_hostname=GUEST)
    there = server.wrap_bio(up, down, server_side=True)
    for end in (here, there, here, there):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return here


def test_the_guests_certificate_is_accepted(certificates: Certificates) -> None:
    assert handshake(certificates, "guest").version() == "TLSv1.3"
    assert len({certificates.guest.pin, certificates.other_name.pin}) == 2
    assert len(certificates.guest.pin) == 32


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        ("other_name", "Hostname mismatch"),
        ("expired", "certificate has expired"),
        ("other_issuer", "unable to get local issuer certificate"),
    ],
)
def test_the_others_are_refused_for_the_reason_they_stand_for(
    certificates: Certificates, shown: str, reason: str
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=reason):
        handshake(certificates, shown)
