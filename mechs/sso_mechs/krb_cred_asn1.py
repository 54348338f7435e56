"""The part of the ASN.1 of KRB-CRED that a TGT needs (RFC 4120 sections 5.2, 5.3 and 5.8)."""

from time import gmtime, strftime
from typing import Any

from pyasn1.type import char, namedtype, tag, univ, useful

from sso_mechs.ccache import Ticket
from sso_mechs.principal import Principal


def _explicit(number: int, name: str, type: Any, optional: bool = False) -> Any:
    kind = namedtype.OptionalNamedType if optional else namedtype.NamedType
    outer = tag.Tag(tag.tagClassContext, tag.tagFormatConstructed, number)
    return kind(name, type.subtype(explicitTag=outer))


def _application(number: int, base: Any) -> Any:
    outer = tag.Tag(tag.tagClassApplication, tag.tagFormatConstructed, number)
    return base.tagSet.tagExplicitly(outer)


# UTF-8, unlike RFC 4120 section 5.2.1, because libkrb5 and Active Directory use it.
KERBEROS_STRING = char.GeneralString(encoding="utf-8")


class PrincipalName(univ.Sequence):  # type: ignore[misc]
    componentType = namedtype.NamedTypes(
        _explicit(0, "name-type", univ.Integer()),
        _explicit(1, "name-string", univ.SequenceOf(componentType=KERBEROS_STRING)),
    )


class EncryptedData(univ.Sequence):  # type: ignore[misc]
    componentType = namedtype.NamedTypes(
        _explicit(0, "etype", univ.Integer()),
        _explicit(1, "kvno", univ.Integer(), True),
        _explicit(2, "cipher", univ.OctetString()),
    )


class KerberosTicket(univ.Sequence):  # type: ignore[misc]
    tagSet = _application(1, univ.Sequence)
    componentType = namedtype.NamedTypes(
        _explicit(0, "tkt-vno", univ.Integer()),
        _explicit(1, "realm", KERBEROS_STRING),
        _explicit(2, "sname", PrincipalName()),
        _explicit(3, "enc-part", EncryptedData()),
    )


class KrbCred(univ.Sequence):  # type: ignore[misc]
    tagSet = _application(22, univ.Sequence)
    componentType = namedtype.NamedTypes(
        _explicit(0, "pvno", univ.Integer()),
        _explicit(1, "msg-type", univ.Integer()),
        _explicit(2, "tickets", univ.SequenceOf(componentType=KerberosTicket())),
        _explicit(3, "enc-part", EncryptedData()),
    )


class EncryptionKey(univ.Sequence):  # type: ignore[misc]
    componentType = namedtype.NamedTypes(
        _explicit(0, "keytype", univ.Integer()), _explicit(1, "keyvalue", univ.OctetString())
    )


class HostAddress(univ.Sequence):  # type: ignore[misc]
    componentType = namedtype.NamedTypes(
        _explicit(0, "addr-type", univ.Integer()), _explicit(1, "address", univ.OctetString())
    )


class KrbCredInfo(univ.Sequence):  # type: ignore[misc]
    componentType = namedtype.NamedTypes(
        _explicit(0, "key", EncryptionKey()),
        _explicit(1, "prealm", KERBEROS_STRING, True),
        _explicit(2, "pname", PrincipalName(), True),
        _explicit(3, "flags", univ.BitString(), True),
        _explicit(4, "authtime", useful.GeneralizedTime(), True),
        _explicit(5, "starttime", useful.GeneralizedTime(), True),
        _explicit(6, "endtime", useful.GeneralizedTime(), True),
        _explicit(7, "renew-till", useful.GeneralizedTime(), True),
        _explicit(8, "srealm", KERBEROS_STRING, True),
        _explicit(9, "sname", PrincipalName(), True),
        _explicit(10, "caddr", univ.SequenceOf(componentType=HostAddress()), True),
    )


class EncKrbCredPart(univ.Sequence):  # type: ignore[misc]
    tagSet = _application(29, univ.Sequence)
    componentType = namedtype.NamedTypes(
        _explicit(0, "ticket-info", univ.SequenceOf(componentType=KrbCredInfo())),
        _explicit(1, "nonce", univ.Integer(), True),
        _explicit(2, "timestamp", useful.GeneralizedTime(), True),
        _explicit(3, "usec", univ.Integer(), True),
        _explicit(4, "s-address", HostAddress(), True),
        _explicit(5, "r-address", HostAddress(), True),
    )


def principal_name(text: str, field: str) -> tuple[str, PrincipalName]:
    """Return realm and name of a principal, tagged for that field of a KrbCredInfo."""
    principal = Principal(text)
    number = {"pname": 2, "sname": 9}[field]
    outer = tag.Tag(tag.tagClassContext, tag.tagFormatConstructed, number)
    name = PrincipalName().subtype(explicitTag=outer)
    name["name-type"] = principal.type
    for part in principal.components:
        name["name-string"].append(part)
    return principal.realm, name


def times_of(ticket: Ticket) -> dict[str, str]:
    """Return the times of a ticket as GeneralizedTime, without those that are 0."""
    times = {
        "authtime": ticket.auth_time,
        "starttime": ticket.start_time,
        "endtime": ticket.end_time,
        "renew-till": ticket.renew_till,
    }
    return {name: strftime("%Y%m%d%H%M%SZ", gmtime(value)) for name, value in times.items() if value}
