"""Connection files in the shapes that portals and people write, made after their public documentation.

None is a copy of anybody's file. In each stand {host}, {port}, {tls} (SPICE, plain and TLS), {vnc}, {ticket},
{vnc_ticket}, {ca} (PEM in one line), {subject}, {proxy} and {socket}; `filled` gives the bytes.
"""

from pathlib import Path
from typing import NamedTuple


def write(folder: Path, content: str | bytes) -> str:
    """Write a connection file; return its path."""
    path = folder / "console.vv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def minimal(more: str = "") -> str:
    """The shortest file of a console, and more lines below it."""
    return f"[virt-viewer]\ntype=spice\nhost=vm7\nport=5900\n{more}\n"


def ours(more: str) -> str:
    """The same with a group of ours."""
    return minimal(f"[x-sso]\n{more}")


class Shape(NamedTuple):
    """One file: its kind, its text, and words of the lines that a person is told, one for each line."""

    kind: str
    text: str
    told: tuple[str, ...] = ()
    encoding: str = "utf-8"

    def filled(self, **values: object) -> bytes:
        """The bytes of the file for one console."""
        return self.text.format(**values).encode(self.encoding)


SHAPES = {
    # oVirt's REST API shows this one in its reference (remoteviewerconnectionfile).
    "ovirt-api": Shape(
        "spice",
        "[virt-viewer]\ntype=spice\nhost={host}\nport=-1\npassword={ticket}\n"
        "# Password is valid for 120 seconds.\ndelete-this-file=1\nfullscreen=0\n"
        "toggle-fullscreen=shift+f11\nrelease-cursor=shift+f12\n"
        "secure-attention=ctrl+alt+end\ntls-port={tls}\nenable-smartcard=0\nenable-usb-autoshare=0\n"
        "usb-filter=null\ntls-ciphers=DEFAULT\nhost-subject={subject}\nca={ca}\n",
    ),
    "ovirt-portal": Shape(
        "spice",
        "[virt-viewer]\ntype=spice\nhost={host}\nport={port}\npassword={ticket}\n"
        "# Password is valid for 120 seconds.\ndelete-this-file=1\nfullscreen=0\n"
        "title=desk-7:%d - Press SHIFT+F12 to Release Cursor\ntoggle-fullscreen=shift+f11\n"
        "release-cursor=shift+f12\nsecure-attention=ctrl+alt+end\ntls-port={tls}\nenable-smartcard=0\n"
        "enable-usb-autoshare=1\nusb-filter=-1,-1,-1,-1,0\ntls-ciphers=DEFAULT\nhost-subject={subject}\n"
        "ca={ca}\nsecure-channels=main;inputs;cursor;playback;record;display;smartcard;usbredir\n"
        "versions=rhev-win64:2.0-160;rhev-win32:2.0-160;rhel8:7.0-3;rhel7:2.0-6;rhel6:99.0-1\n"
        "newer-version-url=http://www.example.org/clients\n\n"
        "[ovirt]\nhost=engine.example.org:443\nvm-guid=2b1e7c8e-0000-4000-8000-1f2e3d4c5b6a\n"
        "sso-token=ZXhhbXBsZQ\nadmin=1\nca={ca}\n",
    ),
    # Its web interface writes keys of its own above those of the engine.
    "ovirt-web-ui": Shape(
        "spice",
        "[virt-viewer]\nusb-filter=-1,-1,-1,-1,1\nsecure-attention=ctrl+alt+end\ntype=spice\nhost={host}\n"
        "port=-1\ntls-port={tls}\npassword={ticket}\nfullscreen=1\nusb-filter=null\ntitle=null\n"
        "secure-attention=ctrl+alt+del\nhost-subject={subject}\nca={ca}\n",
        ("usb-filter is given twice", "secure-attention is given twice"),
    ),
    "ovirt-vnc": Shape(
        "vnc",
        "[virt-viewer]\ntype=vnc\nhost={host}\nport={vnc}\npassword={vnc_ticket}\n"
        "# Password is valid for 120 seconds.\ndelete-this-file=1\nfullscreen=0\ntitle=desk-7:%d\n"
        "toggle-fullscreen=shift+f11\nrelease-cursor=shift+f12\nsecure-attention=ctrl+alt+end\n"
        "tls-port=-1\nusername=null\n\n[ovirt]\nhost=engine.example.org:443\nadmin=0\n",
    ),
    # The ticket in the host's place, and the cluster's proxy.
    "proxmox": Shape(
        "spice",
        "[virt-viewer]\ntls-port={tls}\ntype=spice\ntitle=VM 107 - desk\nsecure-attention=Ctrl+Alt+Ins\n"
        "toggle-fullscreen=Shift+F11\nrelease-cursor=Ctrl+Alt+R\ndelete-this-file=1\nproxy={proxy}\n"
        "host=pvespiceproxy:66A1B2C3:107:node1::7f3e5a90c1d24b6688aa01bc44de77f09a8b7c6d\n"
        "host-subject={subject}\npassword={ticket}\nca={ca}\n",
    ),
    # Scripts print all that its API gives, in the order of a hash.
    "proxmox-by-script": Shape(
        "spice",
        "[virt-viewer]\nca={ca}\nhost=pvespiceproxy:66A1B2C3:107:node1::7f3e5a90c1d24b6688aa01bc44de77f09a8b7c6d\n"
        "tls-port={tls}\nnode=node1\nvmid=107\nproxy={proxy}/\npassword={ticket}\nhost-subject={subject}\n"
        "type=spice\ndelete-this-file=1\nsuccess=1",
        ("node is unknown", "vmid is unknown", "success is unknown"),
    ),
    # A group that says something to people.
    "cockpit": Shape(
        "spice",
        "[virt-viewer]\ntype=spice\nhost={host}\nport={port}\npassword={ticket}\ndelete-this-file=1\n"
        "fullscreen=0\n\n[...............................GraphicsConsole]\n",
        ("group [...............................GraphicsConsole] is unknown",),
    ),
    "opennebula": Shape(
        "vnc",
        "[virt-viewer]\ntype=vnc\nhost={host}\nport={vnc}\npassword={vnc_ticket}\ntitle=one-42\n"
        "delete-this-file=1\nfullscreen=0\nversion=null\n",
    ),
    # A template whose lines are switched off by a semicolon; GLib knows only those with a "=".
    "openuds": Shape(
        "spice",
        "[virt-viewer]\ntype=spice\nhost={host}\nport={port}\npassword={ticket}\ntls-port={tls}\n"
        "fullscreen=1\ntitle=desk-7:%d - Press SHIFT+F12 to Release Cursor\nenable-smartcard=0\n"
        "enable-usb-autoshare=true\nenable-usbredir=true\ndelete-this-file=1\nusb-filter=-1,-1,-1,-1,0\n"
        "tls-ciphers=DEFAULT\nhost-subject={subject}\nca={ca}\ntoggle-fullscreen=shift+f11\n"
        "release-cursor=shift+f12\nsecure-attention=ctrl+alt+end\n;secure-channels=main;inputs\n"
        "; proxy = http://tunnel.example.org:3128\n;disable-channels=usbredir\n",
    ),
    "isardvdi": Shape(
        "spice",
        "[virt-viewer]\ntype=spice\nhost={host}\ntls-port={tls}\npassword={ticket}\ntitle=desk-7 (F11)\n"
        "\ndelete-this-file=1\nenable-usbredir=1\nenable-usb-autoshare=1\n"
        "secure-channels=main;display;inputs;cursor;playback;record;usbredir\nca={ca}\n"
        "host-subject={subject}\ntls-ciphers=HIGH\n\n",
    ),
    # As remote-viewer(1) explains it, with comments before the first group.
    "by-hand": Shape(
        "spice",
        "# The console of desk-7\n\n[virt-viewer]\ntype=spice\nhost={host}\nport={port}\nusername=\n"
        "password={ticket}\ndisable-effects=wallpaper;font-smooth;animation\ncolor-depth=32\n"
        "disable-channels=\nproxy=\nca=\nzoom-in=ctrl+plus\nzoom-out=ctrl+minus\nzoom-reset=ctrl+0\n",
    ),
    # An editor of Windows, an old encoding, and what people believe that the keys take.
    "windows": Shape(
        "spice",
        "[virt-viewer]\r\n# Für Müller\r\nType = x\r\ntype = SPICE\r\nhost = {host}\r\nport = {port}\r\n"
        "password={ticket}\r\ntitle=Müllers Rechner\r\nfullscreen = yes\r\ncolor-depth = true\r\n"
        "full screen = no\r\nrelease-cursor = Strg+Alt\r\nenable-smartcard = no\r\ndelete-this-file = no\r\n",
        (
            *(
                "Type is unknown",
                "full screen is unknown",
                "title: it is no UTF-8",
                "fullscreen: it has to be",
            ),
            *("color-depth: it has to be", "release-cursor: a hotkey", "enable-smartcard: it has to be"),
            "delete-this-file: it has to be",
        ),
        "latin-1",
    ),
    "virt-manager": Shape(
        "spice",
        "[virt-viewer]\ntype=spice\nunix-path={socket}\nhost=null\nport=-1\ntls-port=-1\nfullscreen=-1\n",
    ),
    # A small portal: a template of which half has no value, and a key that means another one.
    "small-portal": Shape(
        "vnc",
        "[virt-viewer]\ntype=vnc\nhost={host}\nport={vnc}\npassword={vnc_ticket}\nfull-screen=0\ntitle=a\\u00fc\n"
        "title=desk 7\ncolor-depth=-1\nhost-subject=\nenable-smartcard=null\nusb-filter=all\n\n[app]\nid=7\n",
        (
            "group [app] is unknown",
            "title is given twice",
            "full-screen is unknown",
            "usb-filter: it has to be",
        ),
    ),
}
