"""What libpam's calls take and give (security/_pam_types.h): the conversation of a login program."""

import ctypes


class PamMessage(ctypes.Structure):
    """pam_message: what a module shows or asks."""

    _fields_ = (("style", ctypes.c_int), ("text", ctypes.c_char_p))


class PamResponse(ctypes.Structure):
    """pam_response: `text` is made by malloc(3), and libpam frees it."""

    _fields_ = (("text", ctypes.c_void_p), ("code", ctypes.c_int))


# The function of pam_conv(3): how many messages, the messages, where the responses go, and our own data.
PamTalk = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.POINTER(ctypes.POINTER(PamMessage)),
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.c_void_p,
)


class PamConversation(ctypes.Structure):
    """pam_conv; it has to live as long as the handle that was started with it."""

    _fields_ = (("talk", PamTalk), ("data", ctypes.c_void_p))
