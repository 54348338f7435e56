"""What libkrb5's calls take and give that no Python package has (krb5.h)."""

import ctypes


class Krb5Data(ctypes.Structure):
    """krb5_data: `length` bytes at `data`."""

    _fields_ = (("magic", ctypes.c_int), ("length", ctypes.c_uint), ("data", ctypes.c_void_p))


class Krb5Principal(ctypes.Structure):
    """krb5_principal_data: a name of `count` components."""

    _fields_ = (
        ("magic", ctypes.c_int32),
        ("realm", Krb5Data),
        ("components", ctypes.POINTER(Krb5Data)),
        ("count", ctypes.c_int32),
        ("type", ctypes.c_int32),
    )
