"""The window: the console's screen, a status line, and the user's buttons and keys."""

from collections.abc import Callable
from typing import Any

import gi

gi.require_version("Gtk", "3.0")
gi.require_version("SpiceClientGtk", "3.0")
from gi.repository import Gdk, GLib, Gtk, SpiceClientGLib, SpiceClientGtk  # noqa: E402  (versions come first)

from sso.console.console import Console  # noqa: E402
from sso.console.vouch import Question  # noqa: E402
from sso.credential import Credential  # noqa: E402
from sso.plug.plug import PlugInPoint  # noqa: E402

from .hotkeys import Hotkeys  # noqa: E402
from .question import put  # noqa: E402
from .spice import SpiceConsole  # noqa: E402
from .viewing import Connection, Viewing  # noqa: E402
from .vnc import VncConsole  # noqa: E402

_SIZE = (1024, 800)
_SECURE_ATTENTION = [Gdk.KEY_Control_L, Gdk.KEY_Alt_L, Gdk.KEY_Delete]
_ZOOM_STEP, _ZOOM_MIN, _ZOOM_MAX = 10, 30, 400  # percent


class Window:
    """Shows one console at a time. The caller sets `viewing`. Closing the window ends the main loop."""

    viewing: Viewing

    def __init__(self, console: Console, *, scaling: bool, clipboard: bool, full_screen: bool) -> None:
        self._scaling, self._clipboard = scaling, clipboard
        self._hotkeys = Hotkeys(console.hotkeys)
        self._display: Any = None
        self._vnc: VncConsole | None = None
        self._gtk_session: Any = None
        self._full = False
        self._name = console.name
        self._window = Gtk.Window(title=f"{console.name} - Console SSO")
        self._window.set_default_size(*_SIZE)
        self._window.connect("delete-event", self._delete)
        self._window.connect("key-press-event", self._key)
        self._window.connect("window-state-event", self._state_changed)
        self._build()
        self._window.show_all()
        self._line.hide()
        if full_screen or console.fullscreen:
            self._window.fullscreen()

    # Face

    def line(self, text: str) -> None:
        self._line.set_text(text)
        self._line.set_visible(bool(text))

    def connected(self) -> None:
        self.line("")

    def ended(self, why: str, password: bool) -> None:
        self._forget_display()
        self._middle.set_visible_child_name("message")
        self._message.set_text(why or "You have left the console.")
        self._connect_again.grab_focus()
        if password:
            GLib.idle_add(self._ask_password, why)

    def ask(self, question: Question, answered: Callable[[bool], None]) -> Callable[[], None]:
        """Implement sign_on.Ask: show a dialog above the console."""
        return put(self._window, question, answered)

    def connect(self, console: Console, point: PlugInPoint, connected: Any, ended: Any) -> Connection:
        """Implement viewing.Connect: start to show a console."""
        self._message.set_text(f"Connecting to {console.name} ...")
        if console.kind == "spice":
            spice = SpiceConsole(console, point, connected=connected, ended=ended, channel=self._channel)
            if self._clipboard:
                self._gtk_session = SpiceClientGtk.GtkSession.get(spice.session)
                self._gtk_session.set_property("auto-clipboard", True)
            self._spice = spice
            return spice
        vnc = VncConsole(console, connected=connected, ended=ended, text=self._cut_in_guest)
        vnc.display.set_scaling(self._scaling)
        vnc.display.set_keyboard_grab(True)
        self._vnc = vnc
        self._show(vnc.display)
        return vnc

    # The console's screen

    def _channel(self, channel: Any) -> None:
        if isinstance(channel, SpiceClientGLib.DisplayChannel):
            if self._display is None:
                display = SpiceClientGtk.Display.new(self._spice.session, channel.get_property("channel-id"))
                display.set_property("scaling", self._scaling)
                display.set_property("resize-guest", False)
                self._show(display)
            SpiceClientGLib.Channel.connect(channel)
        elif isinstance(channel, SpiceClientGLib.InputsChannel | SpiceClientGLib.CursorChannel):
            SpiceClientGLib.Channel.connect(channel)

    def _show(self, display: Any) -> None:
        self._display = display
        self._middle.add_named(display, "display")
        display.show()
        self._middle.set_visible_child_name("display")
        display.grab_focus()

    def _forget_display(self) -> None:
        if self._display is not None:
            self._display.destroy()  # it still asks the session about the clipboard
            self._display = None
        self._vnc = self._gtk_session = None

    # The clipboard

    def _cut_in_guest(self, text: str) -> None:
        if self._clipboard:
            self._guests_text = text
            Gtk.Clipboard.get(Gdk.SELECTION_CLIPBOARD).set_text(text, -1)

    def _cut_here(self, clipboard: Any, event: Any) -> None:
        def give(board: Any, text: str | None) -> None:
            if self._vnc is not None and text and text != self._guests_text:
                self._vnc.cut(text)

        if self._vnc is not None and self._clipboard:
            clipboard.request_text(give)

    # What the user does

    def _build(self) -> None:
        bar = Gtk.HeaderBar(title=self._name, show_close_button=True)
        for icon, text, call in (
            ("view-fullscreen-symbolic", "Full screen", self._toggle_full_screen),
            ("input-keyboard-symbolic", "Send Ctrl+Alt+Del", self._send_secure_attention),
            ("view-refresh-symbolic", "Sign in again", lambda: self.viewing.sign_in_again()),
            ("network-offline-symbolic", "Leave the console", lambda: self.viewing.close()),
        ):
            button = Gtk.Button.new_from_icon_name(icon, Gtk.IconSize.BUTTON)
            button.set_tooltip_text(text)
            button.set_focus_on_click(False)
            button.connect("clicked", lambda _button, call=call: call())
            bar.pack_start(button)
        self._window.set_titlebar(bar)
        self._message = Gtk.Label(wrap=True)
        self._connect_again = Gtk.Button(label="Connect again", halign=Gtk.Align.CENTER)
        self._connect_again.connect("clicked", lambda button: self._again())
        page = Gtk.Box(orientation=Gtk.Orientation.VERTICAL, spacing=12, valign=Gtk.Align.CENTER)
        page.pack_start(self._message, False, False, 0)
        page.pack_start(self._connect_again, False, False, 0)
        self._middle = Gtk.Stack()
        self._middle.add_named(page, "message")
        self._line = Gtk.Label(xalign=0, margin=6, selectable=False, ellipsize=3)
        whole = Gtk.Box(orientation=Gtk.Orientation.VERTICAL)
        whole.pack_start(self._middle, True, True, 0)
        whole.pack_end(self._line, False, False, 0)
        self._window.add(whole)
        self._guests_text = ""
        Gtk.Clipboard.get(Gdk.SELECTION_CLIPBOARD).connect("owner-change", self._cut_here)

    def _again(self) -> None:
        self._middle.set_visible_child_name("message")
        self.viewing.open()

    def _key(self, window: Any, event: Any) -> bool:
        acts: dict[str, Callable[[], None]] = {
            "toggle-fullscreen": self._toggle_full_screen,
            "release-cursor": self._release_cursor,
            "secure-attention": self._send_secure_attention,
            "zoom-in": lambda: self._zoom(_ZOOM_STEP),
            "zoom-out": lambda: self._zoom(-_ZOOM_STEP),
            "zoom-reset": lambda: self._zoom(0),
        }
        act = acts.get(self._hotkeys.name(event))
        if act is not None:
            act()
        return act is not None

    def _toggle_full_screen(self) -> None:
        if self._full:
            self._window.unfullscreen()
        else:
            self._window.fullscreen()

    def _state_changed(self, window: Any, event: Any) -> None:
        self._full = bool(event.new_window_state & Gdk.WindowState.FULLSCREEN)

    def _release_cursor(self) -> None:
        if isinstance(self._display, SpiceClientGtk.Display):
            self._display.mouse_ungrab()
        elif self._vnc is not None:
            self._vnc.display.force_grab(False)

    def _send_secure_attention(self) -> None:
        if isinstance(self._display, SpiceClientGtk.Display):
            self._display.send_keys(_SECURE_ATTENTION, SpiceClientGtk.DisplayKeyEvent.CLICK)
        elif self._vnc is not None:
            self._vnc.display.send_keys(_SECURE_ATTENTION)

    def _zoom(self, step: int) -> None:
        if isinstance(self._display, SpiceClientGtk.Display):
            level = self._display.get_property("zoom-level") + step if step else 100
            self._display.set_property("zoom-level", min(max(level, _ZOOM_MIN), _ZOOM_MAX))

    def _ask_password(self, why: str) -> bool:
        """Ask for the console's own password, which is not the user's password in the guest."""
        dialog = Gtk.Dialog(title="Console password", transient_for=self._window, modal=True)
        dialog.add_buttons("Cancel", Gtk.ResponseType.CANCEL, "Connect", Gtk.ResponseType.OK)
        dialog.set_default_response(Gtk.ResponseType.OK)
        entry = Gtk.Entry(visibility=False, activates_default=True, margin=12)
        box = dialog.get_content_area()
        box.add(Gtk.Label(label=why, margin=12))
        box.add(entry)
        dialog.show_all()
        answered = dialog.run() == Gtk.ResponseType.OK
        if answered:
            self.viewing.use_password(Credential("password", "", bytearray(entry.get_text().encode())))
        entry.set_text("")
        dialog.destroy()
        if answered:
            self._again()
        return False

    def _delete(self, window: Any, event: Any) -> bool:
        Gtk.main_quit()
        return True
