"""What the name of a guest's service looks like: service/host or service/host@REALM, in every place alike.

Letters, digits and the three marks of host names that exist; so it is no option, pattern, path or line end.
Without regular expressions: the client asks before its first octet.
"""

_SERVICE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"
_HOST = _SERVICE + "._"
SERVICE_MAX, HOST_MAX = 63, 253  # octets of a label and of a name (RFC 1035 section 2.3.4)


def is_spn(text: str) -> bool:
    """Whether it is a service's name, with or without a realm, which has the form of a host's name."""
    name, at, realm = text.partition("@")
    service, _, host = name.partition("/")
    return _is_made_of(service, _SERVICE, SERVICE_MAX) and is_host(host) and (not at or is_host(realm))


def is_host(text: str) -> bool:
    """Whether it may be the host of a service: underscores occur there, whatever RFC 952 says."""
    return _is_made_of(text, _HOST, HOST_MAX)


def _is_made_of(text: str, characters: str, most: int) -> bool:
    return 0 < len(text) <= most and not text.strip(characters) and text[0] not in "-."
