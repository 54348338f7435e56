"""A forwarded TGT as the octets of a FILE ccache, without a file.

GSS-API hands a ticket out into a credential cache only. That is a MEMORY cache here, which libkrb5 itself
writes out entry by entry (krb5_marshal_credentials, MIT 1.20), and which is destroyed: nothing touches a
disk, and what is left of the ticket is one buffer that can be wiped. With an older library it is stored into
a file, read back and removed.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from gssapi import raw

from sso.errors import MechanismError
from sso_mechs import ccache
from sso_mechs.krb5_types import Krb5Data

ENTRIES_MAX = 16  # a forwarded TGT is one; what a client forwards beyond is dropped
CREDS_SIZE = 512  # octets: more than a krb5_creds takes, which nobody here looks into


def octets_of(credentials: Any) -> bytearray:
    """What a FILE ccache with these credentials holds; GSSError or MechanismError("delegation")."""
    if not hasattr(_library(), "krb5_marshal_credentials"):
        return _through_a_file(credentials)
    name = b"MEMORY:sso-" + os.urandom(16).hex().encode()
    with _cache(name) as (context, store):
        raw.store_cred_into({b"ccache": name}, credentials, usage="initiate", overwrite=True)
        entries = _entries(context, store)
    if not entries:
        raise MechanismError("delegation", "the forwarded ticket is lost")
    return ccache.joined(entries)


@cache
def hold_configuration() -> ctypes.c_void_p:
    """Keep one krb5 context for good, and use it for nothing.

    Most GSS-API calls make a context of their own. While none is alive, each reads and parses krb5.conf anew;
    with one, libkrb5 only looks whether the file has changed.
    """
    context = ctypes.c_void_p()
    _library().krb5_init_context(ctypes.byref(context))
    return context


@cache
def _library() -> Any:
    # The one that the GSS-API library has loaded: another copy would not know its MEMORY caches.
    return ctypes.CDLL("libkrb5.so.3")


@contextmanager
def _cache(name: bytes) -> Iterator[tuple[ctypes.c_void_p, ctypes.c_void_p]]:
    """A krb5 context and the cache of that name in it, which is destroyed at the end."""
    krb5 = _library()
    context, store = ctypes.c_void_p(), ctypes.c_void_p()
    _check(krb5.krb5_init_context(ctypes.byref(context)))
    try:
        _check(krb5.krb5_cc_resolve(context, name, ctypes.byref(store)))
        try:
            yield context, store
        finally:
            krb5.krb5_cc_destroy(context, store)
    finally:
        krb5.krb5_free_context(context)


def _entries(context: ctypes.c_void_p, store: ctypes.c_void_p) -> list[bytearray]:
    """The credentials of a cache, each in the form of the FILE cache."""
    krb5, entries = _library(), list[bytearray]()
    cursor, creds = ctypes.c_void_p(), ctypes.create_string_buffer(CREDS_SIZE)
    at = ctypes.byref(cursor)
    _check(krb5.krb5_cc_start_seq_get(context, store, at))
    try:
        while len(entries) < ENTRIES_MAX and not krb5.krb5_cc_next_cred(context, store, at, creds):
            entries.append(_entry(context, creds))
        return entries
    finally:
        krb5.krb5_cc_end_seq_get(context, store, at)


def _entry(context: ctypes.c_void_p, creds: Any) -> bytearray:
    """One credential, in the only buffer that is left of it: the library's own are wiped."""
    krb5, data = _library(), ctypes.POINTER(Krb5Data)()
    failed = krb5.krb5_marshal_credentials(context, creds, ctypes.byref(data))
    krb5.krb5_free_cred_contents(context, creds)
    _check(failed)
    size, at = data.contents.length, data.contents.data
    entry = bytearray(size)
    ctypes.memmove((ctypes.c_char * size).from_buffer(entry), at, size)
    ctypes.memset(at, 0, size)
    krb5.krb5_free_data(context, data)
    return entry


def _check(failed: int) -> None:
    if failed:
        raise MechanismError("delegation", f"the forwarded ticket is lost: krb5 error {failed}")


def _through_a_file(credentials: Any) -> bytearray:
    """Store into a folder of our own (0700), read back, overwrite, remove."""
    import tempfile

    try:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "ccache")
            place: dict[bytes | str, bytes | str] = {b"ccache": b"FILE:" + path.encode()}
            raw.store_cred_into(place, credentials, usage="initiate", overwrite=True)
            with open(path, "r+b") as file:
                secret = bytearray(os.fstat(file.fileno()).st_size)
                file.readinto(secret)
                file.seek(0)
                file.write(bytes(len(secret)))
        return secret
    except OSError as error:
        raise MechanismError("delegation", f"the forwarded ticket is lost: {error.strerror}") from None
