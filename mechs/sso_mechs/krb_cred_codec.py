"""Encodes and decodes a KRB-CRED with one ticket (DER, RFC 4120 section 5.8); strict, for hostile peers."""

import calendar
import time
from typing import Any

from pyasn1.codec.der import decoder, encoder
from pyasn1.error import PyAsn1Error

from sso.errors import MechanismError
from sso_mechs.ccache import Ticket
from sso_mechs.der import CREDENTIAL_MAX, check_count
from sso_mechs.krb_cred_asn1 import EncKrbCredPart, KrbCred, KrbCredInfo, principal_name, times_of
from sso_mechs.principal import COMPONENTS_MAX, Principal

VERSION, MESSAGE_TYPE = 5, 22
# Caps on DER values in a KRB-CRED and in its inner part; 3 names of 16 components and 16 addresses have 170.
VALUES_MAX = 192


def encode(ticket: Ticket) -> bytearray:
    """Encode one ticket as a KRB-CRED whose encrypted part is plain (etype 0)."""
    try:
        return _encode(ticket)
    except PyAsn1Error:  # its text could contain bytes of the key
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
    """Decode a KRB-CRED of at most 64 KiB with exactly one ticket; MechanismError for anything else."""
    if len(blob) > CREDENTIAL_MAX:
        raise MechanismError("kerberos", "the KRB-CRED is too long")
    try:
        check_count(blob, VALUES_MAX)
        message, rest = decoder.decode(blob, asn1Spec=KrbCred())
        _need(not rest and int(message["pvno"]) == VERSION and int(message["msg-type"]) == MESSAGE_TYPE)
        _need(int(message["enc-part"]["etype"]) == 0)
        inner = bytes(message["enc-part"]["cipher"])
        check_count(inner, VALUES_MAX)
        part, rest = decoder.decode(inner, asn1Spec=EncKrbCredPart())
        _need(not rest and len(message["tickets"]) == 1 and len(part["ticket-info"]) == 1)
        _need(0 < len(message["tickets"][0]["sname"]["name-string"]) <= COMPONENTS_MAX)
        return _ticket(part["ticket-info"][0], encoder.encode(message["tickets"][0]))
    except (PyAsn1Error, ValueError, OverflowError, RecursionError):
        raise MechanismError("kerberos", "the KRB-CRED cannot be read") from None


def _ticket(info: Any, ticket: bytes) -> Ticket:
    for field in ("prealm", "pname", "srealm", "sname", "flags", "endtime"):
        _need(info[field].hasValue())
    return Ticket(
        client=_name(info["prealm"], info["pname"]),
        server=_name(info["srealm"], info["sname"]),
        key_type=_small(info["key"]["keytype"]),
        key=bytearray(bytes(info["key"]["keyvalue"])),
        auth_time=_time(info["authtime"]),
        start_time=_time(info["starttime"]),
        end_time=_time(info["endtime"]),
        renew_till=_time(info["renew-till"]),
        flags=int((str(info["flags"].asBinary()).rjust(len(info["flags"]), "0") + "0" * 32)[:32], 2),
        ticket=ticket,
    )


def _name(realm: Any, name: Any) -> Principal:
    found = Principal.of(map(str, name["name-string"]), str(realm), _small(name["name-type"]))
    _need(found.is_usable)
    return found


def _small(value: Any) -> int:
    """Return an Int32 that is not negative. Raises ValueError; larger numbers fit into no message anyway."""
    number = int(value)
    _need(0 <= number < 2**31)
    return number


def _time(value: Any) -> int:
    """Parse a KerberosTime (RFC 4120 section 5.2.3): UTC, in seconds, within 32 bits; 0 when it is missing.

    strptime would import another module now, which a confined process may not be able to read.
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
