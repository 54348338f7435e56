"""The form of a service name (SPN), the same everywhere: service/host or service/host@REALM.

Only letters, digits, hyphen, dot and underscore are allowed, so a name cannot act as an option, pattern, path
or line end. No regular expressions: the client checks names before its first byte, and `re` loads slowly.
"""

_SERVICE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"
_HOST = _SERVICE + "._"
SERVICE_MAX, HOST_MAX = 63, 253  # bytes of a label and of a name (RFC 1035 section 2.3.4)


def is_spn(text: str) -> bool:
    """Whether the text is a service name, with or without a realm; a realm has the form of a host name."""
    name, at, realm = text.partition("@")
    service, _, host = name.partition("/")
    return _is_made_of(service, _SERVICE, SERVICE_MAX) and is_host(host) and (not at or is_host(realm))


def is_host(text: str) -> bool:
    """Whether the text may be the host of a service; unlike RFC 952 it may contain underscores."""
    return _is_made_of(text, _HOST, HOST_MAX)


def _is_made_of(text: str, characters: str, most: int) -> bool:
    return 0 < len(text) <= most and not text.strip(characters) and text[0] not in "-."
