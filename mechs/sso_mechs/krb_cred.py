"""The credential type `kerberos`: one TGT as a KRB-CRED (RFC 4120 section 5.8, PROTOCOL.md section 9.1).

The encrypted part has etype 0 (plain), so it is sent only inside a confidential layer, after GSSAPI. A
KRB-CRED does not authenticate anybody; the caller of `accept` says whose ticket it must be.
"""

import os
from importlib.util import find_spec
from typing import Any

from sso.credential import Credential
from sso.errors import MechanismError
from sso.mech import KERBEROS, TICKET, Mechanism, Pair
from sso_mechs import ccache, handed_over
from sso_mechs.collection import chosen
from sso_mechs.der import CREDENTIAL_MAX
from sso_mechs.krb5_types import Krb5Data
from sso_mechs.principal import Principal

if find_spec("pyasn1") is None:  # it is imported later; report now if it is missing
    raise ImportError("No module named 'pyasn1'", name="pyasn1")


class Initiator(Mechanism):
    """The client's half: a forwarded copy of the TGT if the KDC gives one, else the TGT itself.

    `spn` is the guest's service; `cache` names a credential cache or a collection other than the default one.
    """

    def __init__(self, *, spn: str, cache: str | None = None) -> None:
        self._spn, self._cache = spn, chosen(spn, cache)

    def step(self, token: bytes) -> bytearray:
        if self.complete:
            raise MechanismError("kerberos", "already given")
        blob = _forwarded(self._spn, self._cache)
        if blob is None:
            from sso_mechs.krb_cred_codec import encode  # here, because most clients never need it

            blob = encode(ccache.ticket_granting(ccache.read(_copy_of(self._cache))))
        if len(blob) > CREDENTIAL_MAX:
            size = len(blob)
            blob[:] = bytes(size)
            raise MechanismError("too-long", f"a ticket of {size} bytes, and {CREDENTIAL_MAX} are the most")
        self.complete = True
        return blob


class Acceptor(Mechanism):
    """The guest's half: `principal` is the GSS initiator, who must own the ticket.

    After its only step, `credential` holds the TGT as the bytes of a FILE ccache.
    """

    def __init__(self, *, principal: str) -> None:
        self._principal = principal

    def step(self, token: bytes | bytearray) -> bytes:
        from sso_mechs.krb_cred_codec import decode

        ticket = decode(bytes(token))
        if ticket.client != self._principal:
            raise MechanismError("kerberos", "the ticket belongs to another principal")
        handed_over.check(ticket, Principal(self._principal).realm)
        self.credential = Credential("kerberos", self._principal, ccache.write(ticket), ticket.end_time)
        self.complete = True
        return b""


def _copy_of(cache: str | None) -> bytearray:
    """Let the library copy any cache (FILE, KCM, DIR, KEYRING) to a file of ours; return its bytes."""
    import tempfile

    import gssapi

    store: dict[bytes | str, bytes | str] | None = {"ccache": cache} if cache else None
    try:
        credentials = gssapi.Credentials(usage="initiate", store=store)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "ccache")
            credentials.store({"ccache": "FILE:" + path}, usage="initiate", overwrite=True)
            with open(path, "rb") as file:
                return bytearray(file.read(ccache.FILE_MAX))
    except gssapi.exceptions.GSSError:
        raise MechanismError("no-ticket", "the credential cache cannot be read") from None


def _forwarded(spn: str, cache: str | None) -> bytearray | None:
    """Return a forwarded copy of the TGT, made by libkrb5 (krb5_fwd_tgt_creds), or None.

    No Python package has that call. Without a session key in the auth context the library does not encrypt
    the inner part, which is the form that this protocol sends.
    """
    import ctypes.util

    krb5: Any = ctypes.CDLL(ctypes.util.find_library("krb5") or "libkrb5.so.3")
    krb5.krb5_cc_default_name.restype = ctypes.c_char_p
    context, auth, store = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    client, server = ctypes.c_void_p(), ctypes.c_void_p()
    out = Krb5Data()
    if krb5.krb5_init_context(ctypes.byref(context)):
        return None
    ref = ctypes.byref
    name = cache.encode() if cache else None
    try:
        calls = (
            lambda: krb5.krb5_cc_resolve(context, name or krb5.krb5_cc_default_name(context), ref(store)),
            lambda: krb5.krb5_cc_get_principal(context, store, ref(client)),
            lambda: krb5.krb5_parse_name(context, spn.encode(), ref(server)),
            lambda: krb5.krb5_auth_con_init(context, ref(auth)),
            lambda: krb5.krb5_auth_con_setflags(context, auth, 0),
            lambda: krb5.krb5_fwd_tgt_creds(context, auth, None, client, server, store, 1, ref(out)),
        )
        if any(call() for call in calls):  # type: ignore[no-untyped-call]
            return None
        blob = bytearray(ctypes.string_at(out.data, out.length))
        ctypes.memset(out.data, 0, out.length)
        return blob
    finally:
        krb5.krb5_free_data_contents(context, ref(out))
        for free, value in (
            (krb5.krb5_auth_con_free, auth),
            (krb5.krb5_free_principal, client),
            (krb5.krb5_free_principal, server),
            (krb5.krb5_cc_close, store),
        ):
            if value:
                free(context, value)
        krb5.krb5_free_context(context)


def prepare() -> None:
    """Import what Acceptor.step needs now: a confined process may not be able to read the files later."""
    import sso_mechs.krb_cred_codec  # noqa: F401


KRB_CRED = Pair(
    "kerberos",
    "credential",
    Initiator,
    Acceptor,
    confidential=True,
    provides=("kerberos",),
    prepare=prepare,
    gives=TICKET,
    namespace=KERBEROS,
)
