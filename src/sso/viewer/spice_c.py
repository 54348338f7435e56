"""Calls two functions of spice-gtk in C, since PyGObject 3.42 has defects there.

For bytes to write, PyGObject makes a temporary copy and frees it while the bytes are still queued, which ends
in SIGSEGV. Here the buffer lives until spice-gtk reports that it is done. A property that is a byte array
stays empty with PyGObject.
"""

import ctypes
from collections.abc import Callable
from typing import Any

_READY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_spice = ctypes.CDLL("libspice-client-glib-2.0.so.8")
_glib = ctypes.CDLL("libglib-2.0.so.0")
_spice.spice_port_channel_write_async.argtypes = [
    *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, _READY, ctypes.c_void_p)
]
_spice.spice_port_channel_write_async.restype = None
_spice.spice_port_channel_write_finish.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
_spice.spice_port_channel_write_finish.restype = ctypes.c_ssize_t
_glib.g_error_free.argtypes = [ctypes.c_void_p]
_glib.g_error_free.restype = None
_glib.g_byte_array_new.restype = ctypes.c_void_p
_glib.g_byte_array_append.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint]
_glib.g_byte_array_append.restype = ctypes.c_void_p
_glib.g_byte_array_unref.argtypes = [ctypes.c_void_p]
_glib.g_byte_array_unref.restype = None
_gobject = ctypes.CDLL("libgobject-2.0.so.0")
_gobject.g_object_set.restype = None
_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
_capsule_pointer.restype = ctypes.c_void_p


def set_ca(session: Any, pem: bytes) -> None:
    """Set the property `ca` of a SpiceClientGLib.Session, which copies it."""
    array = ctypes.c_void_p(_glib.g_byte_array_new())
    _glib.g_byte_array_append(array, pem, len(pem))
    pointer = ctypes.c_void_p(_capsule_pointer(session.__gpointer__, None))
    _gobject.g_object_set(pointer, ctypes.c_char_p(b"ca"), array, ctypes.c_void_p(None))
    _glib.g_byte_array_unref(array)


# Keeps alive what spice-gtk still reads: the channel, the bytes, and the callback.
_outstanding: dict[int, tuple[Any, Any, Callable[[bool], None]]] = {}
_numbers = iter(range(1, 2**62))


def write(channel: Any, data: bytearray, done: Callable[[bool], None]) -> None:
    """Queue bytes on a SpiceClientGLib.PortChannel; calls `done` later with whether all were taken.

    `data` must not be resized until then. A closed channel, and one whose port is not open in the guest,
    takes nothing.
    """
    buffer = (ctypes.c_char * len(data)).from_buffer(data)
    number = next(_numbers)
    _outstanding[number] = channel, buffer, done
    pointer = _capsule_pointer(channel.__gpointer__, None)
    _spice.spice_port_channel_write_async(pointer, ctypes.addressof(buffer), len(data), None, _ready, number)


def _done(channel: int, result: int, number: int) -> None:
    error = ctypes.c_void_p()
    taken = _spice.spice_port_channel_write_finish(channel, result, ctypes.byref(error))
    if error:
        _glib.g_error_free(error)
    _, buffer, done = _outstanding.pop(number)
    done(taken == len(buffer))


_ready = _READY(_done)
