"""`sso-viewer`: shows the screen of a virtual machine in a window, and runs plug-ins at its ports."""

import signal
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter

from sso import __version__
from sso.console import connection_file
from sso.errors import ConfigError
from sso.viewer import settings

from . import intent as intents
from .exits import FAILED, LEFT, NO_GTK, USAGE, complain
from .intent import Intent

_EXITS = f"""exit codes:
    {LEFT}  the console was left
    {FAILED}  there is no console at the address, or its connection was lost (with --no-window)
    {USAGE}  wrong option, connection file or configuration
    {NO_GTK}  GTK, spice-gtk or gtk-vnc is not there

files: {settings.SYSTEM_CONFIG}, ~/.config/console-sso/viewer.toml"""


def main(arguments: list[str] | None = None) -> int:
    """Show a console until the user leaves it; --help lists the exit codes."""
    given = _parser().parse_args(arguments)
    try:
        return _view(given, intents.read(given, settings.load(given.settings)))
    except ConfigError as error:
        complain(str(error))
        return USAGE
    except KeyboardInterrupt:
        return LEFT


def _view(given: Namespace, intent: Intent) -> int:
    starts, notes = intents.chosen(intent, given.spn or "")
    for note in notes:
        complain(note)
    try:
        from . import running

        if not given.no_window:
            from . import window  # noqa: F401  (checks that its libraries are installed)
    except (ImportError, ValueError) as error:
        complain(
            f"{error}: install console-sso-viewer, or python3-gi gir1.2-spiceclientgtk-3.0 gir1.2-gtk-vnc-2.0"
        )
        return NO_GTK
    if not given.no_window and not running.has_display():
        complain("no display: set DISPLAY or WAYLAND_DISPLAY, or use --no-window")
        return FAILED
    # Delete the file only now, when nothing can refuse it any more.
    if (file := intent.reach.console.spent) and (note := connection_file.remove(file)):
        complain(note)
    run = running.without_window if given.no_window else running.with_window
    return run(intent, () if given.no_plug_ins else starts, given)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="sso-viewer",
        formatter_class=RawDescriptionHelpFormatter,
        description="Open the console of a virtual machine, and sign in there automatically.",
        epilog=_EXITS,
    )
    parser.add_argument(
        "console",
        metavar="FILE|ADDRESS",
        help="a connection file (.vv), or spice://HOST:PORT, spice+unix:///PATH, vnc://HOST:PORT,"
        " vnc+unix:///PATH",
    )
    for flag, metavar, text in (
        ("--spn", "SPN", "the guest's Kerberos service, such as host/vm.example.org (default: the file's)"),
        ("--pin", "sha256:HEX", "of the guest's configured TLS keys accept only this (default: the file's)"),
        ("--stream", "ADDRESS", "where a VNC console's stream is: unix:PATH, tcp:HOST:PORT, tls:HOST:PORT"),
        ("--ca", "FILE", "the CA of the console's certificate, PEM (default: the file's, or the system's)"),
        ("--title", "TEXT", "the window's title (default: the file's, or the address)"),
        ("--settings", "FILE", "read this file instead of the usual ones (default: see below)"),
    ):
        parser.add_argument(flag, metavar=metavar, help=text)
    parser.add_argument(
        "--password-fd", type=int, metavar="N", help="read the console's password from this file descriptor"
    )
    for flag, text in (
        ("--full-screen", "start in full screen"),
        ("--no-window", "run only the plug-ins, until the console ends: for a computer without a screen"),
        ("--no-plug-ins", "show only the screen"),
    ):
        parser.add_argument(flag, action="store_true", help=f"{text} (default: off)")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="print each step on stderr (default: only errors)"
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


if __name__ == "__main__":
    # SIGTERM raises KeyboardInterrupt, so that cleanup code runs.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
