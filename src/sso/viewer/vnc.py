"""A console over VNC: gtk-vnc's display. It has no ports; a stream beside it may carry the sign-in.

This file works around some behaviour of gtk-vnc: its display answers every kind of login that it knows, so
our handlers replace its own; the lists of its signals are GObject.ValueArray, which Python cannot iterate;
and PyGObject creates the enumeration of the kinds of login only at the second try, since one of them
(MSLogon) does not fit a gint.
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import gi

gi.require_version("GtkVnc", "2.0")
gi.require_version("GVnc", "1.0")
from gi.repository import GObject, GtkVnc, GVnc  # noqa: E402  (the versions come first)

from sso.console.console import Console  # noqa: E402
from sso.printable import one_line  # noqa: E402

from .vnc_security import SUBTYPES, TYPES, choose, refusal  # noqa: E402

with suppress(ValueError):
    _ = GVnc.ConnectionAuth  # the first try, see above

_WRONG_PASSWORD = "the console's password is wrong or too old"
_CLIENT_NAME = "libvirt"  # gtk-vnc looks for the certificates of a VeNCrypt client below this name


class VncConsole:
    """One connection to a VNC server. Drop it after it has `ended`. `display` is the widget.

    Calls `ended` once, with a line for the user ("" after `close`) and whether a password is needed, and
    `text` with text that was copied in the guest.
    """

    def __init__(
        self,
        console: Console,
        *,
        ended: Callable[[str, bool], None],
        connected: Callable[[], None] = lambda: None,
        text: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._console, self._ended = console, ended
        self._over = False
        self._why = ""
        self.display = GtkVnc.Display()
        for signal, call in {
            "vnc-initialized": lambda display: connected(),
            "vnc-disconnected": lambda display: self._end(
                self._why or "the connection to the console is lost"
            ),
            "vnc-error": self._error,
            "vnc-auth-credential": self._credential,
            "vnc-auth-failure": lambda display, words: self._end(_WRONG_PASSWORD, True),
            "vnc-auth-unsupported": lambda display, kind: self._error(display, "an unknown kind of login"),
            "vnc-server-cut-text": lambda display, cut: text(cut),
        }.items():
            GObject.Object.connect(self.display, signal, call)
        connection = self.display.get_connection()
        _answer_alone(connection, "vnc-auth-choose-type", self._choose_type)
        _answer_alone(connection, "vnc-auth-choose-subtype", self._choose_subtype)

    def open(self) -> None:
        """Start to connect; `connected` or `ended` is called later."""
        if not self._console.unix_path:
            self.display.open_host(self._console.host, str(self._console.port))
            return
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(self._console.unix_path)
        except OSError:
            connection.close()
            self._end("nobody answers at the console's address")
        else:
            self.display.open_fd(connection.detach())

    def close(self) -> None:
        """Leave the console."""
        self._end("")

    def cut(self, text: str) -> None:
        """Send the guest a text for its clipboard."""
        if self.display.is_open():
            self.display.client_cut_text(text)

    def _choose_type(self, connection: Any, offered: Any) -> None:
        if (kind := choose(_numbers(offered), TYPES)) is None:
            self._end(refusal(_numbers(offered)))
        else:
            connection.set_auth_type(kind)

    def _choose_subtype(self, connection: Any, kind: int, offered: Any) -> None:
        if (subtype := choose(_numbers(offered), SUBTYPES)) is None:
            self._end(refusal(_numbers(offered)))
        else:
            connection.set_auth_subtype(subtype)

    def _credential(self, display: Any, wanted: Any) -> None:
        secret = self._console.password.secret if self._console.password else None
        answers = {
            # gtk-vnc takes only a string. A ticket lives two minutes, and is dropped with the display.
            GtkVnc.DisplayCredential.PASSWORD: bytes(secret).decode() if secret else None,
            GtkVnc.DisplayCredential.USERNAME: self._console.username or None,
            GtkVnc.DisplayCredential.CLIENTNAME: _CLIENT_NAME,
        }
        for kind in _numbers(wanted):
            answer = answers.get(kind)
            if answer is None:
                self._end("the console asks for a password", True)
                return
            display.set_credential(kind, answer)

    def _error(self, display: Any, words: str) -> None:
        self._why = "the console cannot be shown: " + one_line(words[:100])

    def _end(self, why: str, password: bool = False) -> None:
        if not self._over:
            self._over = True
            if self.display.is_open():
                self.display.close()
            self._ended(why, password)


def _numbers(array: Any) -> list[int]:
    """Return the values of a GObject.ValueArray of an enumeration, as 32 bit numbers."""
    return [int(array.get_nth(at)) & 0xFFFFFFFF for at in range(array.n_values)]


def _answer_alone(connection: Any, signal: str, call: Callable[..., None]) -> None:
    """Handle a signal of GVnc.Connection instead of the display, which would answer first."""
    number = GObject.signal_lookup(signal, type(connection))
    wanted = (GObject.SignalMatchType.ID, number, 0, None, None, None)
    while handler := GObject.signal_handler_find(connection, *wanted):
        GObject.signal_handler_disconnect(connection, handler)
    GObject.Object.connect(connection, signal, call)
