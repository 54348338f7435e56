"""`sso trust`: adds, lists and removes the keys whose signatures in connection files count here."""

import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter

from sso.console import trust_folder
from sso.console.trust import SIGNS, TrustedKey, trusted_key
from sso.errors import ConfigError
from sso.printable import escaped

_DONE, _FAILED = 0, 1
_TAKES = {"add": "NAME and KEY", "list": "neither NAME nor KEY", "remove": "NAME"}


def main(arguments: list[str] | None = None) -> int:
    """Run `sso trust`: 0 done, 1 it could not be done or a key is wrong, 2 wrong usage."""
    parser = _parser()
    given = parser.parse_args(arguments)
    folder = given.folder or (trust_folder.SYSTEM if given.system else "")
    words = {"add": 2, "list": 0, "remove": 1}[given.what]
    if bool(given.name) + bool(given.key) != words or (given.system and given.folder):
        parser.error(f"{given.what} takes {_TAKES[given.what]}, and --system or --folder, not both")
    try:
        if given.what == "list":
            return _list(*([folder] if folder else []))
        if given.what == "remove":
            print(f"no longer trusted: {trust_folder.remove(folder or trust_folder.own(), given.name)}")
        else:
            return _add(folder or trust_folder.own(), _key(given))
        return _DONE
    except _Usage as error:
        parser.error(str(error))
    except (ConfigError, OSError) as error:
        print(f"sso trust: {escaped(str(error))}", file=sys.stderr)
        return _FAILED


class _Usage(ConfigError):
    """An argument that is missing or wrong."""


def _key(given: Namespace) -> TrustedKey:
    table = {"key": given.key, "signs": given.signs, "consoles": given.consoles, "services": given.services}
    for name in ("signs", "consoles", "services"):
        if not table[name]:
            raise _Usage(f"to add a key, say --{name}, too")
    try:
        return trusted_key(table, given.name)
    except ConfigError as error:
        raise _Usage(str(error)) from None


def _add(folder: str, key: TrustedKey) -> int:
    print(f"{trust_folder.add(folder, key)}:\n{_said(key)}")
    counting, notes = trust_folder.load(folder)
    for note in notes:
        print(f"sso trust: {escaped(note)}", file=sys.stderr)
    return _DONE if key in counting else _FAILED


def _list(*folders: str) -> int:
    keys, notes = trust_folder.load(*folders)
    for key in keys:
        print(f"{key.name}: {key.text}\n{_said(key)}")
    for note in notes:
        print(f"sso trust: {escaped(note)}", file=sys.stderr)
    if not keys:
        print("no key is trusted: every connection file counts as unsigned")
    return _FAILED if notes else _DONE


def _said(key: TrustedKey) -> str:
    return (
        f"    signs    {', '.join(key.signs)}\n"
        f"    consoles {'  '.join(key.consoles)}\n"
        f"    services {'  '.join(key.services)}"
    )


_EPILOG = f"""examples:
    sso trust add example.org ed25519:... --signs entries \\
        --consoles relay.example.org '*.hosts.example.org' --services 'host/*.example.org@EXAMPLE.ORG'
    sso trust list
    sso trust remove example.org

files: {trust_folder.SYSTEM}, ~/.config/console-sso/trust.d; tables [[trust]] of viewer.toml count, too
exit codes: 0 done; 1 it could not be done, or a key's file is wrong; 2 wrong usage"""

_LISTS = {
    "--signs": "entries: a site's key, kept off-line, says which guest a console shows; openings: a portal's"
    " key says who asked for a file",
    "--consoles": "shell patterns for the hosts of consoles, relays and proxies that the key may speak of",
    "--services": "shell patterns for the guests' services, such as host/*.example.org@EXAMPLE.ORG; TLS names"
    " as tls/*.example.org",
}


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="sso trust",
        formatter_class=RawDescriptionHelpFormatter,
        description="Say whose signatures in connection files count here, and for which consoles and services"
        " only.",
        epilog=_EPILOG,
    )
    parser.add_argument("what", choices=("add", "list", "remove"), help="what to do")
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="a name for the key")
    parser.add_argument("key", nargs="?", default="", metavar="KEY", help="the public key, ed25519:...")
    for flag, text in _LISTS.items():
        parser.add_argument(
            flag,
            nargs="+",
            action="extend",
            default=[],
            choices=SIGNS if flag == "--signs" else None,
            metavar="WHAT" if flag == "--signs" else "PATTERN",
            help=text,
        )
    parser.add_argument(
        "--system", action="store_true", help="for everybody on this machine (default: for you)"
    )
    parser.add_argument("--folder", metavar="FOLDER", help="use this folder instead of the usual ones")
    return parser


if __name__ == "__main__":
    sys.exit(main())
