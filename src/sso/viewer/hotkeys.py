"""Keys that control the viewer instead of the guest."""

from collections.abc import Mapping
from typing import Any

import gi

gi.require_version("Gtk", "3.0")
from gi.repository import Gdk, Gtk  # noqa: E402  (the version comes first)

DEFAULTS = {
    "toggle-fullscreen": "F11",
    "release-cursor": "<Shift>F12",
    "secure-attention": "<Ctrl><Alt>End",
    "zoom-in": "<Ctrl>plus",
    "zoom-out": "<Ctrl>minus",
    "zoom-reset": "<Ctrl>0",
}


class Hotkeys:
    """Maps keys to action names: `given` (GTK accelerators by name) overrides DEFAULTS; "" disables."""

    def __init__(self, given: Mapping[str, str]) -> None:
        self._names: dict[tuple[int, int], str] = {}
        for name, keys in {**DEFAULTS, **given}.items():
            key, modifiers = Gtk.accelerator_parse(keys)
            if key:
                self._names[key, int(modifiers)] = name

    def name(self, event: Any) -> str:
        """Return the action name for a key-press event, or ""."""
        mask = event.state & Gtk.accelerator_get_default_mod_mask()
        return self._names.get((Gdk.keyval_to_lower(event.keyval), int(mask)), "")
