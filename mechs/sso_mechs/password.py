"""The credential type `password`: one blob, user NUL password, in UTF-8 (PROTOCOL.md section 9.2).

It is sent only inside verified TLS. The guest's PAM checks the password, not this module.
"""

from sso.credential import Credential
from sso.errors import MechanismError
from sso.mech import Mechanism, Pair

USER_MAX = 256
PASSWORD_MAX = 511  # PAM_MAX_RESP_SIZE - 1


class Initiator(Mechanism):
    """The client's half: its only step returns the blob and wipes `password`."""

    def __init__(self, *, user: str, password: bytearray) -> None:
        self.credential = Credential("password", user, password)
        name = user.encode()
        if not 0 < len(name) <= USER_MAX or b"\0" in name:
            raise MechanismError("password", "the user name is empty or too long")
        if not 0 < len(password) <= PASSWORD_MAX or 0 in password:
            raise MechanismError(
                "password", f"the password is empty, over {PASSWORD_MAX} bytes or holds a NUL"
            )

    def step(self, token: bytes) -> bytearray:
        if self.complete or self.credential is None or self.credential.secret is None:
            raise MechanismError("password", "already given")
        blob = bytearray(self.credential.principal.encode() + b"\0") + self.credential.secret
        self.credential.wipe()
        self.complete = True
        return blob


class Acceptor(Mechanism):
    """The guest's half: splits the blob into user and password, which only PAM can verify."""

    def step(self, token: bytes | bytearray | memoryview) -> bytes:
        with memoryview(token) as view:
            end = next((at for at, octet in enumerate(view[: USER_MAX + 1]) if octet == 0), 0)
            size = len(view) - end - 1
            if not end or not 0 < size <= PASSWORD_MAX or 0 in view[end + 1 :]:
                raise MechanismError("password", "malformed")
            try:
                user = bytes(view[:end]).decode()
            except UnicodeDecodeError:
                raise MechanismError("password", "malformed") from None
            self.credential = Credential("password", user, bytearray(view[end + 1 :]))
        self.complete = True
        return b""


PASSWORD = Pair(
    "password",
    "credential",
    Initiator,
    Acceptor,
    confidential=True,
    provides=("password",),
    gives="password",
    alone=True,
)
