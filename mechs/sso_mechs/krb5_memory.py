"""Converts a forwarded TGT to the bytes of a FILE ccache, without a file.

GSS-API can store a ticket only in a credential cache. We use a MEMORY cache, let libkrb5 encode its entries
(krb5_marshal_credentials, MIT 1.20), and destroy it: nothing is written to disk, and the only copy of the
ticket is a buffer that can be wiped. With an older library the ticket is stored in a file, read, and the file
removed.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from sso.errors import MechanismError
from sso_mechs import ccache
from sso_mechs.gssapi_raw import raw
from sso_mechs.krb5_types import Krb5Data

ENTRIES_MAX = 16  # a forwarded TGT is one entry; more than this many are dropped
CREDS_SIZE = 512  # bytes; larger than a krb5_creds, whose fields we never read


def octets_of(credentials: Any) -> bytearray:
    """Return a FILE ccache with these credentials. Raises GSSError or MechanismError("delegation")."""
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
    """Create a krb5 context and keep it, only to make other calls faster.

    Most GSS-API calls create a context of their own. If no other context exists, each one parses krb5.conf
    again; otherwise libkrb5 only checks whether the file has changed.
    """
    context = ctypes.c_void_p()
    _library().krb5_init_context(ctypes.byref(context))
    return context


@cache
def _library() -> Any:
    # Use the copy that the GSS-API library has loaded: another copy would not see its MEMORY caches.
    return ctypes.CDLL("libkrb5.so.3")


@contextmanager
def _cache(name: bytes) -> Iterator[tuple[ctypes.c_void_p, ctypes.c_void_p]]:
    """Yield a krb5 context and the cache of that name; destroy the cache at the end."""
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
    """Return the credentials of a cache, each encoded as in a FILE cache."""
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
    """Encode one credential into a buffer that is then its only copy: the library's copies are wiped."""
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
    """Store the credentials in a folder of our own (0700), read them, then overwrite and remove the file."""
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
