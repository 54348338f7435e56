"""Converts hotkeys of connection files, such as ctrl+alt+end, to GTK accelerators: <Control><Alt>End."""

import re

from sso.errors import ConfigError

HOTKEYS = (
    *("toggle-fullscreen", "release-cursor", "zoom-in", "zoom-out", "zoom-reset", "smartcard-insert"),
    *("smartcard-remove", "secure-attention", "usb-device-reset"),
)
KEYS_MAX = 5  # pressed at once
_MODIFIERS = {
    "ctrl": "Control",
    "control": "Control",
    "shift": "Shift",
    "alt": "Alt",
    "meta": "Meta",
    "super": "Super",
    "win": "Super",
    "cmd": "Super",
}
# In GTK the case of a key's name matters; in connection files it does not.
_KEYS = {
    "ins": "Insert",
    "del": "Delete",
    "esc": "Escape",
    "enter": "Return",
    "pgup": "Page_Up",
    "pgdn": "Page_Down",
    "break": "Break",
    "space": "space",
    "plus": "plus",
    "minus": "minus",
    "print": "Print",
    "pause": "Pause",
    "tab": "Tab",
    "backspace": "BackSpace",
    "equal": "equal",
}
_NAMES = ("Insert", "Delete", "Escape", "Return", "Home", "End", "Page_Up", "Page_Down")
_KEYS |= {name.lower(): name for name in (*_NAMES, "Up", "Down", "Left", "Right", "Menu")}
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]{0,31}")
_FUNCTION = re.compile(r"f[0-9]{1,2}")


def accelerator(text: str, key: str) -> str:
    """Convert a hotkey to GTK's form. If all are modifiers, the last becomes its left key: <Control>Alt_L.

    Raises ConfigError that names `key` if the text is no such combination.
    """
    *modifiers, last = (part.strip() for part in text.split("+"))
    held = [_modifier(word) for word in modifiers]
    if not all(held) or len(held) >= KEYS_MAX or not _KEY.fullmatch(last):
        raise ConfigError(f"{key}: a hotkey has to be modifiers and a key, such as ctrl+alt+end")
    return "".join(f"<{word}>" for word in held) + _key(last)


def _modifier(word: str) -> str:
    return _MODIFIERS.get(re.sub("_[lr]$", "", word.lower()), "")


def _key(word: str) -> str:
    lower = word.lower()
    if _modifier(word):
        return _modifier(word) + ("_R" if lower.endswith("_r") else "_L")
    if _FUNCTION.fullmatch(lower):
        return lower.upper()
    return _KEYS.get(lower, lower if len(word) == 1 else word)
