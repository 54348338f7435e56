"""What libkrb5 says about a collection of credential caches (krb5_cc_select and its like)."""

import ctypes
from contextlib import ExitStack
from typing import Any

from sso.errors import MechanismError
from sso_mechs.krb5_types import Krb5Principal

HOST_SERVICE = 3  # KRB5_NT_SRV_HST; the rules host= and service= of .k5identity match only this type
NOT_FOUND = -1765328243  # KRB5_CC_NOTFOUND


class Caches:
    """libkrb5 with one context whose default cache is `named`; `stack` frees all its objects."""

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
        """Return the full name of the primary cache; None when the default is not a collection."""
        krb5, context, cache = self._krb5, self._context, ctypes.c_void_p()
        if krb5.krb5_cc_default(context, ctypes.byref(cache)):
            return None
        self._stack.callback(krb5.krb5_cc_close, context, cache)
        if not krb5.krb5_cc_support_switch(context, krb5.krb5_cc_get_type(context, cache)):
            return None
        name = self._full_name(cache)
        return None if name == (krb5.krb5_cc_default_name(context) or b"").decode() else name

    def of_service(self, spn: str) -> str | None:
        """Return the cache that the user's rules or the realm select; None if they select none."""
        krb5, context, server = self._krb5, self._context, self._parsed(spn)
        ctypes.cast(server, ctypes.POINTER(Krb5Principal)).contents.type = HOST_SERVICE
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
        """Return the cache of that principal. Raises MechanismError("no-ticket")."""
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
        """Call a library function that returns a C string, and return it as str."""
        said = ctypes.c_void_p()
        if call(self._context, about, ctypes.byref(said)) or not said.value:
            raise MechanismError("no-ticket", "the credential cache cannot be named")
        text = ctypes.string_at(said.value).decode(errors="replace")
        self._krb5.krb5_free_string(self._context, said)
        return text
