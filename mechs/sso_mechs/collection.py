"""Which cache of a collection (DIR, KCM, KEYRING) holds the ticket for a service.

GSS-API takes the primary cache as soon as anybody asks whose ticket it is. So the choice is made before that,
as MIT krb5 makes it itself: by .k5identity(5), then by the service's realm, else the primary cache
(krb5_cc_select, MIT krb5 Application Developer Reference).
"""

import ctypes
import os
from contextlib import ExitStack
from typing import Any

from sso.errors import MechanismError
from sso_mechs.krb5_types import Krb5Data

ALONE = ("FILE:", "MEMORY:", "/")  # a cache that is no collection, as its name already says
HOST_SERVICE = 3  # KRB5_NT_SRV_HST: without it the rules host= and service= of .k5identity never fit
NOT_FOUND = -1765328243  # KRB5_CC_NOTFOUND


class _Principal(ctypes.Structure):
    """krb5_principal_data."""

    _fields_ = (
        ("magic", ctypes.c_int32),
        ("realm", Krb5Data),
        ("components", ctypes.c_void_p),
        ("count", ctypes.c_int32),
        ("type", ctypes.c_int32),
    )


def chosen(spn: str, named: str | None, own: str = "") -> str | None:
    """The cache for the service `spn`, or with `own` the one of that principal.

    `named` is the cache or collection to look in, None for the default one; where that is no collection it is
    the answer, too. Raises MechanismError("no-ticket") when .k5identity, or `own`, names a principal who has
    no cache. No KDC is asked, and where the name says FILE, not even the library.
    """
    if (named or os.environ.get("KRB5CCNAME", "")).startswith(ALONE):
        return named
    with ExitStack() as stack:
        library = _Library(named, stack)
        primary = library.primary()
        if primary is None:
            return named
        return library.of_principal(own) if own else library.of_service(spn) or primary


class _Library:
    """libkrb5 with one context, whose default cache is `named`; `stack` frees what is made."""

    def __init__(self, named: str | None, stack: ExitStack) -> None:
        self._krb5: Any = ctypes.CDLL("libkrb5.so.3")
        self._context, self._stack = ctypes.c_void_p(), stack
        self._krb5.krb5_cc_default_name.restype = ctypes.c_char_p
        self._krb5.krb5_cc_get_type.restype = ctypes.c_char_p
        if self._krb5.krb5_init_context(ctypes.byref(self._context)):
            raise MechanismError("no-ticket", "the Kerberos library cannot read its configuration")
        stack.callback(self._krb5.krb5_free_context, self._context)
        if named:
            self._krb5.krb5_cc_set_default_name(self._context, named.encode())

    def primary(self) -> str | None:
        """The full name of the primary cache; None when the default is one cache and no collection."""
        krb5, context, cache = self._krb5, self._context, ctypes.c_void_p()
        if krb5.krb5_cc_default(context, ctypes.byref(cache)):
            return None
        self._stack.callback(krb5.krb5_cc_close, context, cache)
        if not krb5.krb5_cc_support_switch(context, krb5.krb5_cc_get_type(context, cache)):
            return None
        name = self._full_name(cache)
        return None if name == (krb5.krb5_cc_default_name(context) or b"").decode() else name

    def of_service(self, spn: str) -> str | None:
        """The cache that the user's rules or the realm choose; None when nothing does."""
        krb5, context, server = self._krb5, self._context, self._parsed(spn)
        ctypes.cast(server, ctypes.POINTER(_Principal)).contents.type = HOST_SERVICE
        cache, principal = ctypes.c_void_p(), ctypes.c_void_p()
        failed = krb5.krb5_cc_select(context, server, ctypes.byref(cache), ctypes.byref(principal))
        if principal:
            self._stack.callback(krb5.krb5_free_principal, context, principal)
        if cache:
            self._stack.callback(krb5.krb5_cc_close, context, cache)
            return self._full_name(cache)
        if failed == NOT_FOUND and principal:
            name = self._text(principal)
            raise MechanismError("no-ticket", f"{name} is chosen for {spn} by .k5identity, and has no ticket")
        return None

    def of_principal(self, own: str) -> str:
        """The cache of that principal."""
        krb5, context, cache = self._krb5, self._context, ctypes.c_void_p()
        if krb5.krb5_cc_cache_match(context, self._parsed(own), ctypes.byref(cache)):
            raise MechanismError("no-ticket", f"{own} has no ticket")
        self._stack.callback(krb5.krb5_cc_close, context, cache)
        return self._full_name(cache)

    def _parsed(self, name: str) -> ctypes.c_void_p:
        principal = ctypes.c_void_p()
        if self._krb5.krb5_parse_name(self._context, name.encode(), ctypes.byref(principal)):
            raise MechanismError("unknown-service", f"{name} is no Kerberos name")
        self._stack.callback(self._krb5.krb5_free_principal, self._context, principal)
        return principal

    def _full_name(self, cache: ctypes.c_void_p) -> str:
        return self._string(self._krb5.krb5_cc_get_full_name, cache)

    def _text(self, principal: ctypes.c_void_p) -> str:
        return self._string(self._krb5.krb5_unparse_name, principal)

    def _string(self, call: Any, about: ctypes.c_void_p) -> str:
        """What a call of the library says about something, as a text of ours."""
        said = ctypes.c_void_p()
        if call(self._context, about, ctypes.byref(said)) or not said.value:
            raise MechanismError("no-ticket", "the credential cache cannot be named")
        text = ctypes.string_at(said.value).decode(errors="replace")
        self._krb5.krb5_free_string(self._context, said)
        return text
