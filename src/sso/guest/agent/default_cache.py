"""The user's own default cache, where krb5.conf says so: a ticket for cron jobs and user units, too.

Done by forked processes that are the user before they do anything else. libkrb5 writes into each kind that
needs no login session: FILE, DIR and KCM. The ticket's bytes reach it as the file in which they already are.
Of a collection only the cache of the ticket's principal is touched, or a new one is made.
"""

import ctypes
import os
import stat
from collections.abc import Callable

from sso.daemon.forked import Forked
from sso.daemon.reactor import Reactor
from sso.guest.agent import ccache

STORE_SECONDS = 2.5  # the PAM module waits 3 s for a yes
KINDS = ("FILE:", "DIR:", "KCM:", "/")
FILES = ("FILE:", "DIR::")  # where a single cache is one file
LIBKRB5 = "libkrb5.so.3"


def is_known(name: str) -> bool:
    """Whether a ticket may be put into the cache or collection of that name."""
    return name.startswith(KINDS)


def store(reactor: Reactor, uid: int, secret: int, done: Callable[[str], None]) -> Forked:
    """Put the ticket of the file `secret` into the default cache of a user; `done` gets the cache's name.

    "" says that it did not work. The descriptor stays the caller's, who may close it at once.
    """

    def told(answer: bytes) -> None:
        done(answer.decode(errors="replace"))

    return Forked(reactor, lambda: _store(uid, secret).encode(), told, STORE_SECONDS, keep=[secret])


def refresh(
    reactor: Reactor, name: str, uid: int, secret: int, done: Callable[[bool], None], *, parked: bool = False
) -> Forked:
    """Put a newer ticket of the same principal into that cache; a `parked` one must not be there."""

    def told(answer: bytes) -> None:
        done(answer == ccache.DONE)

    return Forked(
        reactor, lambda: _refresh(name, uid, secret, parked), told, ccache.REFRESH_SECONDS, keep=[secret]
    )


def remove(reactor: Reactor, name: str, uid: int, principal: str, done: Callable[[bool], None]) -> Forked:
    """Destroy that cache of a user, if it is still the principal's; `done` says if it is gone."""

    def told(answer: bytes) -> None:
        done(answer == ccache.DONE)

    return Forked(reactor, lambda: _remove(name, uid, principal), told, ccache.REFRESH_SECONDS)


# In the worker. Nothing is freed there, because the process ends afterwards


def usable(name: str) -> str:
    """Return that name of a cache, or its kind alone if the user cannot write to what is there.

    In a process that is the user. What does not exist yet counts as usable: the session may make a folder.
    Anybody may have put something into /tmp, and a folder may be read-only for the agent.
    """
    kind, _, place = name.partition(":") if not name.startswith("/") else ("FILE", "", name)
    folder = os.path.dirname(place.removeprefix(":")) if kind == "FILE" or place[:1] == ":" else place
    good = _is_own(folder, stat.S_ISDIR, 0) and (not os.path.lexists(folder) or os.access(folder, os.W_OK))
    if kind == "FILE":
        good = good and _is_own(place, stat.S_ISREG)
    return name if good or kind not in ("FILE", "DIR") else kind


def _is_own(path: str, is_kind: Callable[[int], bool], *others: int) -> bool:
    """Whether nothing is there, or a thing of that kind that belongs to this process's user or `others`."""
    try:
        found = os.lstat(path)
    except OSError:
        return True
    return is_kind(found.st_mode) and found.st_uid in (os.getuid(), *others)


def _store(uid: int, secret: int) -> str:
    ccache.become(uid)
    krb5 = _Caches()
    source, principal = krb5.ticket(secret)
    target = krb5.place_for(principal)
    krb5.fill(target, principal, source)
    return krb5.name(target)


def _refresh(name: str, uid: int, secret: int, parked: bool) -> bytes:
    ccache.become(uid)
    krb5 = _Caches()
    source, principal = krb5.ticket(secret)
    target = krb5.resolve(name)
    there = krb5.owner(target)
    if (there is not None) if parked else (there != krb5.text(principal)):
        raise OSError("the cache is another one by now")
    if not parked and name.startswith(FILES):
        return ccache.put(name.partition(":")[2].removeprefix(":"), uid, secret)  # no reader sees half
    krb5.fill(target, principal, source)
    return ccache.DONE


def _remove(name: str, uid: int, principal: str) -> bytes:
    ccache.become(uid)
    krb5 = _Caches()
    target = krb5.resolve(name)
    if krb5.owner(target) != principal:
        raise OSError("the cache is another one by now")
    krb5.destroy(target)
    return ccache.DONE


class _Caches:
    """libkrb5 with the caches of the user that this process is; errors raise OSError."""

    def __init__(self) -> None:
        os.environ.pop("KRB5CCNAME", None)  # the agent's own, if it has one: krb5.conf is to say
        self._krb5 = ctypes.CDLL(LIBKRB5)
        self._krb5.krb5_cc_get_type.restype = ctypes.c_char_p
        self._context = ctypes.c_void_p()
        self._check(self._krb5.krb5_init_context(ctypes.byref(self._context)))

    def ticket(self, secret: int) -> tuple[ctypes.c_void_p, ctypes.c_void_p]:
        """Return the cache in an open file, and its principal."""
        source = self.resolve(f"FILE:/proc/self/fd/{secret}")
        return source, self._get("krb5_cc_get_principal", source)

    def resolve(self, name: str) -> ctypes.c_void_p:
        return self._get("krb5_cc_resolve", name.encode())

    def owner(self, cache: ctypes.c_void_p) -> str | None:
        """Return the principal of a cache; None when there is no such cache."""
        try:
            return self.text(self._get("krb5_cc_get_principal", cache))
        except OSError:
            return None

    def text(self, principal: ctypes.c_void_p) -> str:
        return self._string("krb5_unparse_name", principal)

    def name(self, cache: ctypes.c_void_p) -> str:
        return self._string("krb5_cc_get_full_name", cache)

    def place_for(self, principal: ctypes.c_void_p) -> ctypes.c_void_p:
        """Where kinit(1) would put the principal's ticket: its own cache, the empty default, or a new one."""
        default = self._get("krb5_cc_default")
        if not self._is_collection(default):
            return default
        try:
            return self._get("krb5_cc_cache_match", principal)
        except OSError:
            pass
        if self.owner(default) is None:
            return default
        kind = self._krb5.krb5_cc_get_type(self._context, default)
        return self._get("krb5_cc_new_unique", ctypes.c_char_p(kind), None)

    def fill(self, target: ctypes.c_void_p, principal: ctypes.c_void_p, source: ctypes.c_void_p) -> None:
        """Make the cache the principal's, with what is in `source`, and the first of its collection."""
        self._check(self._krb5.krb5_cc_initialize(self._context, target, principal))
        self._check(self._krb5.krb5_cc_copy_creds(self._context, source, target))
        if self._is_collection(target):
            self._check(self._krb5.krb5_cc_switch(self._context, target))

    def destroy(self, cache: ctypes.c_void_p) -> None:
        """Destroy a cache; another one of its collection becomes the first, if it was that."""
        collection = self._is_collection(cache)
        self._check(self._krb5.krb5_cc_destroy(self._context, cache))
        if not collection or self.owner(self._get("krb5_cc_default")) is not None:
            return
        cursor, other = self._get("krb5_cccol_cursor_new"), ctypes.c_void_p()
        while not self._krb5.krb5_cccol_cursor_next(self._context, cursor, ctypes.byref(other)) and other:
            if self.owner(other) is not None:
                self._krb5.krb5_cc_switch(self._context, other)
                return

    def _is_collection(self, cache: ctypes.c_void_p) -> bool:
        kind = ctypes.c_char_p(self._krb5.krb5_cc_get_type(self._context, cache))
        return bool(self._krb5.krb5_cc_support_switch(self._context, kind))

    def _get(self, call: str, *arguments: object) -> ctypes.c_void_p:
        """Return the object that a call of the library makes."""
        made = ctypes.c_void_p()
        self._check(getattr(self._krb5, call)(self._context, *arguments, ctypes.byref(made)))
        return made

    def _string(self, call: str, about: ctypes.c_void_p) -> str:
        return ctypes.string_at(self._get(call, about).value or 0).decode()

    def _check(self, code: int) -> None:
        if code:
            raise OSError(code, "Kerberos failed")
