"""TLS 1.3 over ssl.MemoryBIO; the guest is the server (PROTOCOL.md section 7.1).

The client verifies the guest by a CA and a name, or by a pinned SHA-256 of its SPKI; a CA without a name is
an error. ALPN is `sso/1`. There are no session tickets, so no secret of a session is kept after its end.
"""

import ssl
from hashlib import sha256, sha384, sha512
from typing import Any

from sso.errors import ConfigError, MechanismError
from sso.mech import CONFIDENTIALITY, Mechanism, Pair

ALPN = "sso/1"
READ_SIZE = 16384  # one TLS record
CLEANSE_PLAINTEXT = 0x2  # SSL_OP_CLEANSE_PLAINTEXT: OpenSSL wipes plaintext after use; ssl has no name for it

# A certificate's signature algorithm (OID in DER) to the hash of tls-server-end-point (RFC 5929 section 4.1).
_SIGNATURE_HASHES = {
    "2a864886f70d010104": sha256,  # md5WithRSAEncryption: SHA-256 takes the place of MD5 and SHA-1
    "2a864886f70d010105": sha256,
    "2a864886f70d01010b": sha256,
    "2a864886f70d01010c": sha384,
    "2a864886f70d01010d": sha512,
    "2a8648ce3d0401": sha256,
    "2a8648ce3d040302": sha256,
    "2a8648ce3d040303": sha384,
    "2a8648ce3d040304": sha512,
}


class _Stream(Mechanism):
    """Base of both halves: a TLS object between two memory buffers."""

    layer = CONFIDENTIALITY

    def __init__(self, context: ssl.SSLContext, *, server: bool, name: str | None = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: Any = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server, server_hostname=name
        )

    def step(self, token: bytes) -> bytes:
        self._incoming.write(token)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return self._outgoing.read()
        except ssl.SSLCertVerificationError as error:
            detail = f"certificate refused: {error.verify_message}"
            raise MechanismError("certificate", detail, token=self._outgoing.read()) from None
        except ssl.SSLError as error:
            reason = error.reason or "handshake failed"
            raise MechanismError("tls", reason, token=self._outgoing.read()) from None
        if self._tls.selected_alpn_protocol() != ALPN:
            raise MechanismError("tls", "the peer does not speak sso/1 inside TLS")
        self._verify()
        self.complete = True
        return self._outgoing.read()

    def _verify(self) -> None:
        """Make the last checks after the handshake."""

    def wrap(self, data: bytes) -> bytes:
        self._tls.write(data)
        return self._outgoing.read()

    def unwrap(self, data: bytes) -> bytearray:
        self._incoming.write(data)
        plain = bytearray()
        try:
            # Without input an attempt to read would only fail, which takes longer than to decrypt a record.
            while self._incoming.pending or self._tls.pending():
                record = bytearray(min(READ_SIZE, self._incoming.pending + self._tls.pending()))
                count = self._tls.read(len(record), record)
                if not count:  # close_notify
                    self.ended = True
                    break
                joined = plain + memoryview(record)[:count]
                plain[:], record[:] = bytes(len(plain)), bytes(len(record))
                plain = joined
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:  # close_notify, after our own
            self.ended = True
        except ssl.SSLError as error:
            raise MechanismError("tls", error.reason or "record refused") from None
        return plain

    def finish(self) -> bytes:
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # we do not wait for the peer's close_notify
        return self._outgoing.read()

    def dispose(self) -> None:
        """Drop the TLS object and its keys now, before the session itself is garbage-collected."""
        super().dispose()
        self._tls = None


class Initiator(_Stream):
    """The client's half.

    `name` is the guest's name, which must be in the certificate's SAN; the CAs are those in `ca_file` (PEM),
    None for the system's. `pins` are SHA-256 hashes of acceptable SPKIs and need no CA. Without name and pins
    the caller must pass `unverified=True`; `peer` then stays "".
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        ca_file: str | None = None,
        pins: tuple[bytes, ...] = (),
        unverified: bool = False,
    ) -> None:
        if ca_file and not name:
            raise ConfigError("a CA alone accepts every guest that it ever signed: give the guest's name too")
        if not (name or pins or unverified):
            raise ConfigError("TLS needs the guest's name or a pin to know whom it talks to")
        context = _context(ssl.PROTOCOL_TLS_CLIENT)
        if name:
            _load_authorities(context, ca_file)
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self._name, self._pins = name or "", pins
        super().__init__(context, server=False, name=name)

    def _verify(self) -> None:
        certificate = self._tls.getpeercert(True) or b""
        if self._pins:
            pin = spki_pin(certificate)
            if pin not in self._pins:
                raise MechanismError("certificate", "the guest's key is not the pinned one")
            self.peer = self._name or "pin-sha256:" + pin.hex()
        else:
            self.peer = self._name
        self.binding = end_point(certificate)


class Acceptor(_Stream):
    """The guest's half. Pass the files `certificate` (PEM chain, the guest's own first) and `key`, or the
    `context` that `server_context` returned, so that a forked child needs no access to the key file."""

    def __init__(
        self,
        *,
        certificate: str = "",
        key: str | None = None,
        context: tuple[ssl.SSLContext, bytes] | None = None,
    ) -> None:
        tls, self.binding = context or server_context(certificate, key)
        super().__init__(tls, server=True)


def server_context(certificate: str, key: str | None = None) -> tuple[ssl.SSLContext, bytes]:
    """Return the guest's SSL context and its tls-server-end-point; ConfigError names the wrong file."""
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0
    try:
        context.load_cert_chain(certificate, key)
        with open(certificate, "rb", buffering=0) as file:
            pem = file.read().decode("ascii", "replace")
        binding = end_point(ssl.PEM_cert_to_DER_cert(_first_certificate(pem)))
    except (OSError, ValueError) as error:
        raise ConfigError(f"TLS certificate {certificate} or its key cannot be used: {error}") from None
    except MechanismError as error:
        raise ConfigError(f"TLS certificate {certificate}: {error}") from None
    return context, binding


def end_point(certificate: bytes) -> bytes:
    """Hash a DER certificate with its signature's hash: tls-server-end-point (RFC 5929 section 4)."""
    hash = _SIGNATURE_HASHES.get(_signature_algorithm(certificate).hex())
    if hash is None:
        raise MechanismError("certificate", "its signature algorithm has no tls-server-end-point (RFC 5929)")
    return hash(certificate).digest()


def spki_pin(certificate: bytes) -> bytes:
    """Return SHA-256 of the SubjectPublicKeyInfo of a DER certificate (the pin of RFC 7469 section 2.4)."""
    return sha256(_public_key(certificate)).digest()


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([ALPN])
    context.options |= ssl.OP_NO_TICKET | CLEANSE_PLAINTEXT
    # Only names in the SAN count (RFC 9525 section 2), because a CA verifies only those as host names.
    context.hostname_checks_common_name = False
    return context


def _load_authorities(context: ssl.SSLContext, ca_file: str | None) -> None:
    try:
        if ca_file:
            context.load_verify_locations(cafile=ca_file)
        else:
            context.set_default_verify_paths()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"CA file {ca_file} cannot be used: {error}") from None


def _first_certificate(pem: str) -> str:
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    if begin not in pem or end not in pem:
        raise ValueError("no certificate in PEM form")
    return begin + pem.partition(begin)[2].partition(end)[0] + end


def _signature_algorithm(certificate: bytes) -> bytes:
    """Return the bytes of the signature algorithm's OID (RFC 5280 section 4.1)."""
    try:
        body, _, _ = _element(certificate)
        _, _, rest = _element(body)
        return _element(_element(rest)[0])[0]
    except IndexError:
        raise MechanismError("certificate", "the certificate cannot be read") from None


def _public_key(certificate: bytes) -> bytes:
    """Return the DER of the SubjectPublicKeyInfo (RFC 5280 section 4.1)."""
    try:
        to_be_signed = _element(_element(certificate)[0])[0]
        fields = []
        while to_be_signed:
            _, whole, to_be_signed = _element(to_be_signed)
            fields.append(whole)
        return fields[6 if fields[0][0] == 0xA0 else 5]
    except IndexError:
        raise MechanismError("certificate", "the certificate cannot be read") from None


def _element(der: bytes) -> tuple[bytes, bytes, bytes]:
    """Split off one DER element: return its contents, the whole element, and the rest."""
    length, start = der[1], 2
    if length & 0x80:
        start = 2 + (length & 0x7F)
        length = int.from_bytes(der[2:start], "big")
    end = start + length
    if end > len(der):
        raise IndexError
    return der[start:end], der[:end], der[end:]


TLS = Pair("TLS", "tls", Initiator, Acceptor, prepare=server_context, layers=(CONFIDENTIALITY,))
