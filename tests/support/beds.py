"""Fixtures of the test bed: a realm with its cast, keytabs, a sandbox, certificates."""

import datetime
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sso.demo.realm import Realm
from sso.demo.sandbox import Sandbox

GUEST = "guest.test.example"

PEOPLE = {name: f"{name}-in-the-realm" for name in ("alice", "bob", "mallory", "alice/admin")}

# Keytabs and their service keys. The keytab of the guest `other2` does not match the KDC.
KEYTABS = {
    "guest": (f"host/{GUEST}", f"imap/{GUEST}"),
    "deleg": ("host/deleg.test.example",),
    "other": ("host/other.test.example",),
    "http": ("HTTP/web.test.example",),
    "other2": ("host/other2.test.example",),
}


@pytest.fixture(scope="session")
def realm() -> Iterator[Realm]:
    """TEST.EXAMPLE: people, `stuck` (tickets cannot be forwarded), `brief` (5 s), the services of KEYTABS."""
    with Realm() as realm:
        realm.principals(PEOPLE)
        realm.principal("stuck", "stuck-in-the-realm", ["-allow_forwardable"])
        realm.principal("brief", "brief-in-the-realm", ["-maxlife", "5s"])
        services = {spn for spns in KEYTABS.values() for spn in spns}
        realm.principals(dict.fromkeys(sorted(services - set(KEYTABS["deleg"]))))
        realm.principals(dict.fromkeys(KEYTABS["deleg"]), ["+ok_as_delegate"])
        yield realm


@pytest.fixture(scope="session")
def keytabs(realm: Realm) -> dict[str, Path]:
    """The keytab files of KEYTABS by name; the one of `other2` holds a wrong key."""
    return {
        name: realm.keytab(realm.folder / f"{name}.keytab", *spns, wrong_key=name == "other2")
        for name, spns in KEYTABS.items()
    }


@pytest.fixture(scope="session")
def other_realm(realm: Realm) -> Iterator[Realm]:
    """OTHER.EXAMPLE with an alice of its own; it can find TEST.EXAMPLE; neither trusts the other."""
    with Realm("OTHER.EXAMPLE") as other:
        other.principal("alice", "alice-elsewhere")
        other.principal("host/guest.other.example")
        other.know(realm)
        yield other


@pytest.fixture(scope="session")
def sandbox(realm: Realm) -> Iterator[Sandbox]:
    """A sandbox in the realm; needs root, so tests that use it carry the marker e2e."""
    with Sandbox() as sandbox:
        sandbox.use_realm(realm)
        yield sandbox


@dataclass(frozen=True)
class Identity:
    """A certificate with its key, both as PEM files."""

    certificate: Path
    key: Path

    @property
    def pin(self) -> bytes:
        """SHA-256 of the certificate's SubjectPublicKeyInfo (RFC 7469 section 2.4)."""
        public = x509.load_pem_x509_certificate(self.certificate.read_bytes()).public_key()
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return hashlib.sha256(public.public_bytes(serialization.Encoding.DER, form)).digest()


@dataclass(frozen=True)
class Certificates:
    """Certificates of a TLS guest, good and bad; all keys are P-256, whose hash RFC 5929 defines."""

    ca: Path
    other_ca: Path
    guest: Identity
    other_name: Identity
    expired: Identity
    other_issuer: Identity
    common_name: Identity

    @property
    def options(self) -> tuple[str, ...]:
        """The client's options for TLS with the guest."""
        return ("--tls-name", GUEST, "--tls-ca", str(self.ca))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A CA; the guest's certificate, one for another name, one expired; the guest's name by another CA, and
    as a common name alone."""
    folder = tmp_path_factory.mktemp("certificates")
    ca, other_ca = Authority("Test CA"), Authority("Other CA")
    return Certificates(
        ca=ca.save(folder / "ca.pem"),
        other_ca=other_ca.save(folder / "other-ca.pem"),
        guest=ca.issue(folder / "guest", GUEST),
        other_name=ca.issue(folder / "other-name", "other.test.example"),
        expired=ca.issue(folder / "expired", GUEST, days=-1),
        other_issuer=other_ca.issue(folder / "other-issuer", GUEST),
        common_name=ca.issue(folder / "common-name", GUEST, sans=[]),
    )


class Authority:
    """A certification authority in memory; `issue` makes any certificate, good or bad."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = self._sign(
            self._name, self._key, 30, x509.BasicConstraints(ca=True, path_length=0)
        )

    def save(self, path: Path) -> Path:
        path.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def issue(
        self, stem: Path, host: str, days: int = 30, sans: Sequence[x509.GeneralName] | None = None
    ) -> Identity:
        """A certificate that ends in `days` days, with a new key: its common name is `host`, and so is its
        subjectAltName unless `sans` says otherwise (none for an empty list)."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        sans = [x509.DNSName(host)] if sans is None else sans
        names = [x509.SubjectAlternativeName(sans)] if sans else []
        certificate = self._sign(
            subject, key, days, x509.BasicConstraints(ca=False, path_length=None), *names
        )
        identity = Identity(stem.with_suffix(".pem"), stem.with_suffix(".key"))
        identity.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        identity.key.touch(mode=0o600)
        identity.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return identity

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        days: int,
        constraints: x509.BasicConstraints,
        *more: x509.ExtensionType,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        ca = constraints.ca
        usage = x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=60))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(constraints, critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        for extension in more:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self._key, hashes.SHA256())
