"""From a principal to a local user, in a forked process that ends as that user.

For a name of Kerberos: krb5_aname_to_localname says who, krb5_kuserok whether that account lets the principal
in (MIT krb5 Application Developer Reference). A name of any other namespace has to be the login name itself:
for a password it was typed, and PAM proves it later.
"""

import ctypes
import os
import pwd
import struct
from collections.abc import Callable
from typing import NamedTuple, Protocol, Self

from sso.daemon.forked import Forked
from sso.daemon.reactor import Reactor
from sso.guest.agent import default_cache
from sso.guest.agent.account import Rules
from sso.guest.agent.rules import Eligibility
from sso.guest.fields import fits
from sso.guest.records import USER_SIZE, Who, is_login_name
from sso.mech import KERBEROS

MAPPING_SECONDS = 5.0
RULE_MAX = 64  # bytes: MAX_USERNAME of MIT krb5's kuserok, with its NUL one more
NAME_ROOM = 4096  # bytes: more than any name that can be used, so that a longer one is told from none
LIBKRB5 = "libkrb5.so.3"
STORE_SIZE = 240  # bytes, with a NUL
_LAYOUT = struct.Struct(f">BI{USER_SIZE}s{STORE_SIZE}s")


class Mapped(NamedTuple):
    """The answer: the rest counts when `finding` is GOOD.

    `store` is the user's default cache, or its kind alone where that cannot be used.
    """

    finding: Eligibility
    uid: int = 0
    user: str = ""
    store: str = ""

    def pack(self) -> bytes:
        store = self.store.encode() if fits(self.store, STORE_SIZE) else b""
        return _LAYOUT.pack(self.finding, self.uid, self.user.encode(), store)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read the answer of a worker; none, or half of one, is BROKEN."""
        if len(data) != _LAYOUT.size:
            return cls(Eligibility.BROKEN)
        finding, uid, user, store = _LAYOUT.unpack(data)
        return cls(Eligibility(finding), uid, *(text.rstrip(b"\0").decode() for text in (user, store)))


class Mapping(Protocol):
    """Finds the local user of a principal; Mapper is the implementation."""

    def ask(self, who: Who, done: Callable[[Mapped], None]) -> Forked: ...


class Mapper:
    """Starts one worker a question; `passwd` is the account look-up (tests bring their own)."""

    def __init__(
        self,
        reactor: Reactor,
        rules: Rules,
        seconds: float = MAPPING_SECONDS,
        passwd: Callable[[str], pwd.struct_passwd] = pwd.getpwnam,
    ) -> None:
        self._reactor, self._rules, self._seconds, self._passwd = reactor, rules, seconds, passwd

    def ask(self, who: Who, done: Callable[[Mapped], None]) -> Forked:
        """Answer through `done` later, within the deadline; cancel the worker to hear nothing."""
        work = _map_principal if who.namespace == KERBEROS else _map_name
        return Forked(
            self._reactor,
            lambda: work(who.principal, self._rules, self._passwd).pack(),
            lambda answer: done(self._judge(Mapped.unpack(answer))),
            self._seconds,
        )

    def _judge(self, mapped: Mapped) -> Mapped:
        """The rules on numbers once more, in the process that arms the grant."""
        finding = mapped.finding
        if finding is Eligibility.GOOD:
            finding = self._rules.on_uid(mapped.uid)
        return mapped if finding is Eligibility.GOOD else Mapped(finding)


# In the worker, which may block and dies afterwards


def _map_name(name: str, rules: Rules, passwd: Callable[[str], pwd.struct_passwd]) -> Mapped:
    if not is_login_name(name):
        return Mapped(Eligibility.NAME if name else Eligibility.NO_USER)
    try:
        entry = passwd(name)
    except KeyError:
        return Mapped(Eligibility.NO_USER)
    return Mapped(rules.on_account(entry), entry.pw_uid, entry.pw_name)


def _map_principal(principal: str, rules: Rules, passwd: Callable[[str], pwd.struct_passwd]) -> Mapped:
    if not principal:
        return Mapped(Eligibility.NAME)  # it did not fit its record
    krb5 = _Kerberos(principal)
    mapped = _map_name(krb5.local_name(), rules, passwd)
    if mapped.finding is not Eligibility.GOOD:
        return mapped
    entry = passwd(mapped.user)
    # As the user: the .k5login may be on a file system that root cannot read, or must not trust. After the
    # change of uid the kernel keeps the user's other processes from tracing this one.
    os.setgid(entry.pw_gid)
    os.initgroups(entry.pw_name, entry.pw_gid)
    os.setuid(entry.pw_uid)
    if not krb5.user_ok(mapped.user, entry.pw_dir):
        return Mapped(Eligibility.NOT_AUTHORISED)
    return mapped._replace(store=default_cache.usable(krb5.default_cache()))


def _is_missing(path: str) -> bool:
    """Whether there is certainly no such file: one that cannot be looked at may be there."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


class _Kerberos:
    """libkrb5 for one principal; errors raise OSError, and the process ends soon."""

    def __init__(self, principal: str) -> None:
        self._library = ctypes.CDLL(LIBKRB5)
        self._context, self._principal = ctypes.c_void_p(), ctypes.c_void_p()
        self._check(self._library.krb5_init_context(ctypes.byref(self._context)))
        parse = self._library.krb5_parse_name
        self._check(parse(self._context, principal.encode(), ctypes.byref(self._principal)))

    def local_name(self) -> str:
        """Who the principal is here, or "" for nobody."""
        room = ctypes.create_string_buffer(NAME_ROOM)
        # The length is an int in krb5.h.
        if self._library.krb5_aname_to_localname(self._context, self._principal, len(room), room):
            return ""
        return room.value.decode()

    def user_ok(self, user: str, home: str) -> bool:
        """Whether the account lets in the principal (its .k5login, if there is one).

        Without that file the local name decides, but libkrb5 does not compare a longer one than RULE_MAX.
        That is done here, unless krb5.conf has modules of its own: an2ln may be off, or one may have refused.
        """
        if self._library.krb5_kuserok(self._context, self._principal, user.encode()):
            return True
        if len(user.encode()) <= RULE_MAX or user != self.local_name() or self._has_modules():
            return False
        return _is_missing(self._k5login(user, home))

    def default_cache(self) -> str:
        """What krb5.conf calls the default cache of the user that this process is."""
        os.environ.pop("KRB5CCNAME", None)  # the agent's own, if it has one
        self._library.krb5_cc_default_name.restype = ctypes.c_char_p
        return (self._library.krb5_cc_default_name(self._context) or b"").decode()

    def _k5login(self, user: str, home: str) -> str:
        """Where the file of that account is (krb5.conf(5), k5login_directory)."""
        profile, folder = ctypes.c_void_p(), ctypes.c_void_p()
        self._check(self._library.krb5_get_profile(self._context, ctypes.byref(profile)))
        section, key = b"libdefaults", b"k5login_directory"
        self._check(self._library.profile_get_string(profile, section, key, None, None, ctypes.byref(folder)))
        return f"{os.fsdecode(ctypes.string_at(folder.value))}/{user}" if folder.value else f"{home}/.k5login"

    def _has_modules(self) -> bool:
        """Whether krb5.conf says which modules let principals in (krb5.conf(5), [plugins] localauth)."""
        profile, found = ctypes.c_void_p(), ctypes.POINTER(ctypes.c_char_p)()
        self._check(self._library.krb5_get_profile(self._context, ctypes.byref(profile)))
        section = (ctypes.c_char_p * 3)(b"plugins", b"localauth", None)
        self._check(self._library.profile_get_relation_names(profile, section, ctypes.byref(found)))
        return bool(found[0])

    def _check(self, code: int) -> None:
        if code:
            raise OSError(code, "Kerberos failed")
