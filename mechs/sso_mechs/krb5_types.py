"""What libkrb5's calls take and give that no Python package has (krb5.h)."""

import ctypes


class Krb5Data(ctypes.Structure):
    """krb5_data: `length` bytes at `data`."""

    _fields_ = (("magic", ctypes.c_int), ("length", ctypes.c_uint), ("data", ctypes.c_void_p))
