"""Console SSO: single sign-on to the console of a virtual machine.

A client at the user's desktop and the guest's login screen talk over a serial port of the machine:

    Session             one end of the talk, for either Role: bytes in, events out, no I/O
    Mechanism, Pair     one half of an authentication, and what an entry point of `sso.mechs` names
    Credential          what is handed over: a ticket or a password, in a buffer that can be wiped
    Plug                a port of the console, and the program that runs at it
    MessageFramer       whole lines out of bytes
    b64encode, b64decode    canonical base64, in buffers that can be wiped
    SSOError            root of the errors that are raised on purpose

`import sso` loads nothing more: each name is imported when it is first used (PEP 562). docs/api.md is the
reference, PROTOCOL.md the contract on the wire.
"""

TYPE_CHECKING = False  # typing's own would load typing; type checkers know the name
if TYPE_CHECKING:
    from sso.credential import Credential as Credential
    from sso.errors import ConfigError as ConfigError
    from sso.errors import FramingError as FramingError
    from sso.errors import LocalProtocolError as LocalProtocolError
    from sso.errors import MechanismError as MechanismError
    from sso.errors import NoAgent as NoAgent
    from sso.errors import PolicyError as PolicyError
    from sso.errors import PortClosed as PortClosed
    from sso.errors import RemoteProtocolError as RemoteProtocolError
    from sso.errors import SSOError as SSOError
    from sso.framing import MessageFramer as MessageFramer
    from sso.framing import b64decode as b64decode
    from sso.framing import b64encode as b64encode
    from sso.mech import Mechanism as Mechanism
    from sso.mech import Pair as Pair
    from sso.plug.plug import Plug as Plug
    from sso.protocol.session import Session as Session
    from sso.protocol.state import Role as Role
else:

    def __getattr__(name: str) -> object:
        """Import a public name when it is first asked for; AttributeError for any other one."""
        for module, names in _HOMES.items():
            if name in names.split():
                from importlib import import_module

                value = globals()[name] = getattr(import_module(module), name)
                return value
        raise AttributeError(f"module 'sso' has no attribute {name!r}")


__version__ = "0.1.0"

# Each module with the names that are taken from it, as above.
_HOMES = {
    "sso.protocol.session": "Session",
    "sso.protocol.state": "Role",
    "sso.mech": "Mechanism Pair",
    "sso.credential": "Credential",
    "sso.plug.plug": "Plug",
    "sso.framing": "MessageFramer b64decode b64encode",
    "sso.errors": "ConfigError FramingError LocalProtocolError MechanismError NoAgent PolicyError PortClosed"
    " RemoteProtocolError SSOError",
}
__all__ = [name for names in _HOMES.values() for name in names.split()]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
