"""libkrb5's own encryption (krb5.h), for tests that look into tickets and tokens, or change them."""

import ctypes
from typing import Any

from sso_mechs.krb5_types import Krb5Data


class _Key(ctypes.Structure):
    """krb5_keyblock."""

    _fields_ = (
        ("magic", ctypes.c_int),
        ("type", ctypes.c_int),
        ("length", ctypes.c_uint),
        ("contents", ctypes.c_char_p),
    )


class _Encrypted(ctypes.Structure):
    """krb5_enc_data."""

    _fields_ = (
        ("magic", ctypes.c_int),
        ("type", ctypes.c_int),
        ("version", ctypes.c_uint),
        ("cipher", Krb5Data),
    )


def encrypt(key_type: int, key: bytes, usage: int, plain: bytes) -> bytes:
    """krb5_c_encrypt: the cipher of an EncryptedData."""
    size = ctypes.c_size_t()
    _call("encrypt_length", key_type, ctypes.c_size_t(len(plain)), ctypes.byref(size))
    room = ctypes.create_string_buffer(size.value)
    out = _Encrypted(0, key_type, 0, _data(room))
    source = ctypes.create_string_buffer(plain, len(plain))
    _call("encrypt", _key(key_type, key), usage, None, ctypes.byref(_data(source)), ctypes.byref(out))
    return room.raw[: out.cipher.length]


def decrypt(key_type: int, key: bytes, usage: int, cipher: bytes) -> bytes:
    """krb5_c_decrypt: what the cipher of an EncryptedData holds."""
    source = ctypes.create_string_buffer(cipher, len(cipher))
    room = ctypes.create_string_buffer(len(cipher))
    out, data = _data(room), _Encrypted(0, key_type, 0, _data(source))
    _call("decrypt", _key(key_type, key), usage, None, ctypes.byref(data), ctypes.byref(out))
    return room.raw[: out.length]


def _key(key_type: int, key: bytes) -> Any:
    return ctypes.byref(_Key(0, key_type, len(key), key))


def _data(buffer: Any) -> Krb5Data:
    return Krb5Data(0, len(buffer), ctypes.addressof(buffer))


def _call(name: str, *arguments: Any) -> None:
    krb5, context = ctypes.CDLL("libkrb5.so.3"), ctypes.c_void_p()
    assert krb5.krb5_init_context(ctypes.byref(context)) == 0
    failed = getattr(krb5, f"krb5_c_{name}")(context, *arguments)
    krb5.krb5_free_context(context)
    assert failed == 0, name
