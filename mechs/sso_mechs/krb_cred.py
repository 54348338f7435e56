"""The credential type `kerberos`: one TGT as a KRB-CRED (RFC 4120 section 5.8, PROTOCOL.md section 9.1).

The encrypted part has etype 0: it travels only inside a confidential layer, after GSSAPI. A KRB-CRED
never authenticates; whoever accepts one says whose it has to be.
"""

import calendar
import ctypes
import ctypes.util
import os
import tempfile
import time
from typing import Any

from pyasn1.codec.der import decoder, encoder
from pyasn1.error import PyAsn1Error

from sso.credential import Credential
from sso.errors import MechanismError
from sso.mech import Mechanism, Pair
from sso_mechs import ccache
from sso_mechs.ccache import Ticket
from sso_mechs.krb_cred_asn1 import EncKrbCredPart, KrbCred, KrbCredInfo, principal_name, times_of

AES = frozenset({17, 18, 19, 20})  # RFC 3962, RFC 8009
VERSION, MESSAGE_TYPE = 5, 22
CREDENTIAL_MAX = 64 * 1024


class Initiator(Mechanism):
    """The client's half: a forwarded copy of the TGT if the KDC gives one, else the TGT itself.

    `spn` is the guest's service; `cache` names a credential cache other than the default one.
    """

    def __init__(self, *, spn: str, cache: str | None = None) -> None:
        self._spn, self._cache = spn, cache

    def step(self, token: bytes) -> bytearray:
        if self.complete:
            raise MechanismError("kerberos", "already given")
        blob = _forwarded(self._spn, self._cache)
        if blob is None:
            blob = encode(_ticket_granting(ccache.read(_copy_of(self._cache))))
        self.complete = True
        return blob


class Acceptor(Mechanism):
    """The guest's half: `principal` is the GSS initiator, whose ticket it has to be.

    After the one step, `credential` holds the TGT as the octets of a FILE ccache.
    """

    def __init__(self, *, principal: str) -> None:
        self._principal = principal

    def step(self, token: bytes | bytearray) -> bytes:
        ticket = decode(bytes(token))
        realm = self._principal.rpartition("@")[2]
        if ticket.client != self._principal:
            raise MechanismError("kerberos", "the ticket belongs to another principal")
        if ticket.server != f"krbtgt/{realm}@{realm}":
            raise MechanismError("kerberos", "the ticket is no TGT of the principal's own realm")
        if ticket.key_type not in AES:
            raise MechanismError("weak-key", "the ticket's session key is no AES key")
        if ticket.end_time <= time.time():
            raise MechanismError("ticket-expired", "the ticket has expired")
        self.credential = Credential("kerberos", self._principal, ccache.write(ticket), ticket.end_time)
        self.complete = True
        return b""


def encode(ticket: Ticket) -> bytearray:
    """One ticket as the DER of a KRB-CRED with a plain (etype 0) encrypted part."""
    try:
        return _encode(ticket)
    except PyAsn1Error:  # its text would hold octets of the key
        raise MechanismError("kerberos", "the ticket cannot be written as a KRB-CRED") from None


def _encode(ticket: Ticket) -> bytearray:
    info = KrbCredInfo()
    info["key"]["keytype"] = ticket.key_type
    info["key"]["keyvalue"] = bytes(ticket.key)
    info["prealm"], info["pname"] = principal_name(ticket.client, "pname")
    info["srealm"], info["sname"] = principal_name(ticket.server, "sname")
    info["flags"] = format(ticket.flags, "032b")
    for field, value in times_of(ticket).items():
        info[field] = value
    part = EncKrbCredPart()
    part["ticket-info"].append(info)
    message = KrbCred()
    message["pvno"], message["msg-type"] = VERSION, MESSAGE_TYPE
    message["tickets"].append(decoder.decode(ticket.ticket)[0])
    message["enc-part"]["etype"] = 0
    message["enc-part"]["cipher"] = encoder.encode(part)
    return bytearray(encoder.encode(message))


def decode(blob: bytes) -> Ticket:
    """The one ticket of a KRB-CRED of at most 64 KiB; MechanismError for anything else in it."""
    if len(blob) > CREDENTIAL_MAX:
        raise MechanismError("kerberos", "the KRB-CRED is too long")
    try:
        message, rest = decoder.decode(blob, asn1Spec=KrbCred())
        _need(not rest and int(message["pvno"]) == VERSION and int(message["msg-type"]) == MESSAGE_TYPE)
        _need(int(message["enc-part"]["etype"]) == 0)
        part, rest = decoder.decode(bytes(message["enc-part"]["cipher"]), asn1Spec=EncKrbCredPart())
        _need(not rest and len(message["tickets"]) == 1 and len(part["ticket-info"]) == 1)
        return _ticket(part["ticket-info"][0], encoder.encode(message["tickets"][0]))
    except (PyAsn1Error, ValueError, OverflowError, RecursionError):
        raise MechanismError("kerberos", "the KRB-CRED cannot be read") from None


def _ticket(info: Any, ticket: bytes) -> Ticket:
    for field in ("prealm", "pname", "srealm", "sname", "flags", "endtime"):
        _need(info[field].hasValue())
    return Ticket(
        client=_name(info["prealm"], info["pname"]),
        server=_name(info["srealm"], info["sname"]),
        key_type=int(info["key"]["keytype"]),
        key=bytearray(bytes(info["key"]["keyvalue"])),
        auth_time=_time(info["authtime"]),
        start_time=_time(info["starttime"]),
        end_time=_time(info["endtime"]),
        renew_till=_time(info["renew-till"]),
        flags=int((str(info["flags"].asBinary()).rjust(len(info["flags"]), "0") + "0" * 32)[:32], 2),
        ticket=ticket,
    )


def _name(realm: Any, name: Any) -> str:
    parts = [str(part) for part in name["name-string"]]
    _need(0 < len(parts) <= 16)
    for text in (str(realm), *parts):
        _need(bool(text) and text.isprintable() and not set(text) & set("/@\\"))
    return "/".join(parts) + "@" + str(realm)


def _time(value: Any) -> int:
    """KerberosTime (RFC 4120 section 5.2.3): UTC to the second, here within 32 bits; 0 when left out.

    Not by strptime: the library would import a module of its own at that moment, which a process that
    has given up its privileges may not be able to read.
    """
    if not value.hasValue():
        return 0
    text = str(value)
    _need(len(text) == 15 and text.isascii() and text[:14].isdigit() and text[14] == "Z")
    year, *rest = (int(text[:4]), *(int(text[i : i + 2]) for i in range(4, 14, 2)))
    seconds = calendar.timegm((year, *rest))
    _need(time.strftime("%Y%m%d%H%M%SZ", time.gmtime(seconds)) == text and 0 < seconds < 2**32)
    return seconds


def _need(condition: bool) -> None:
    if not condition:
        raise ValueError


def _ticket_granting(tickets: list[Ticket]) -> Ticket:
    for ticket in tickets:
        realm = ticket.client.rpartition("@")[2]
        if ticket.server == f"krbtgt/{realm}@{realm}":
            return ticket
    raise MechanismError("no-ticket", "the credential cache holds no TGT")


def _copy_of(cache: str | None) -> bytearray:
    """Whatever kind of cache it is (FILE, KCM, DIR, KEYRING): the library copies it to a file of ours."""
    import gssapi

    store: dict[bytes | str, bytes | str] | None = {"ccache": cache} if cache else None
    try:
        credentials = gssapi.Credentials(usage="initiate", store=store)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "ccache")
            credentials.store({"ccache": "FILE:" + path}, usage="initiate", overwrite=True)
            with open(path, "rb") as file:
                return bytearray(file.read(CREDENTIAL_MAX))
    except gssapi.exceptions.GSSError:
        raise MechanismError("no-ticket", "the credential cache cannot be read") from None


class _Data(ctypes.Structure):
    """krb5_data."""

    _fields_ = (("magic", ctypes.c_int), ("length", ctypes.c_uint), ("data", ctypes.POINTER(ctypes.c_char)))


def _forwarded(spn: str, cache: str | None) -> bytearray | None:
    """A forwarded copy of the TGT as libkrb5 makes it (krb5_fwd_tgt_creds), or None.

    No Python package offers that call. Without a session key in the auth context the library leaves
    the encrypted part plain, which is the form this protocol sends.
    """
    krb5: Any = ctypes.CDLL(ctypes.util.find_library("krb5") or "libkrb5.so.3")
    krb5.krb5_cc_default_name.restype = ctypes.c_char_p
    context, auth, store = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    client, server = ctypes.c_void_p(), ctypes.c_void_p()
    out = _Data()
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


KRB_CRED = Pair("kerberos", "credential", Initiator, Acceptor, confidential=True, provides=("kerberos",))
