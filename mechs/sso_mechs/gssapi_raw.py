"""`raw`: the module gssapi.raw of python-gssapi, without what we do not use of it.

`import gssapi` loads 25 extension modules and all that Windows needs, and takes half of a login. So its
packages are known here, but not executed; `raw` has the names of PARTS alone. Who asks them for more, as
another mechanism in this process may, gets all of it then.
"""

import sys
from _thread import RLock
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

# They add to enums of other modules, for which it is too late once those are loaded.
ENUMS = ("_enum_extensions.ext_dce", "_enum_extensions.ext_iov_mic")
# The modules that we need, in the library's own order: some of them import each other.
PARTS = (
    *("creds", "message", "misc", "exceptions", "names", "sec_contexts", "oids", "types", "chan_bindings"),
    *("ext_cred_store", "mech_krb5", "ext_ggf"),
)
PACKAGES = ("gssapi", "gssapi._utils", "gssapi.raw")
# What modules in C ask of `inspect`, which is large; the same in every Python (Include/cpython/code.h).
CODE_FLAGS = {
    "CO_OPTIMIZED": 0x1,
    "CO_NEWLOCALS": 0x2,
    "CO_VARARGS": 0x4,
    "CO_VARKEYWORDS": 0x8,
    "CO_NESTED": 0x10,
    "CO_GENERATOR": 0x20,
    "CO_COROUTINE": 0x80,
    "CO_ITERABLE_COROUTINE": 0x100,
    "CO_ASYNC_GENERATOR": 0x200,
}
_LOCK = RLock()
_executing: list[ModuleType] = []


class Unexecuted(ModuleType):
    """A module that was found, and is executed when it is asked for a name that it does not have.

    With it all that were put off of the same library are executed, since an import would have done that.
    """

    def __getattr__(self, name: str) -> Any:
        submodule = f"{self.__name__}.{name}"
        if "__path__" in vars(self) and not name.startswith("__") and find_spec(submodule):
            return import_module(submodule)
        with _LOCK:  # another thread may be at it
            if self in _executing:
                raise AttributeError(f"{self.__name__} is being executed, and has no {name} yet")
            execute(self.__name__.partition(".")[0])
        return getattr(self, name)


def execute(library: str) -> None:
    """Make its modules like any others; what is raised is what an import would have raised."""
    for name, module in reversed(list(sys.modules.items())):
        if type(module) is not Unexecuted or name.partition(".")[0] != library or module in _executing:
            continue
        _executing.append(module)
        try:
            module.__spec__.loader.exec_module(module)  # type: ignore[union-attr]
        except BaseException:
            sys.modules.pop(name, None)
            raise
        finally:
            _executing.remove(module)
        module.__class__ = ModuleType  # type: ignore[assignment]


def _put_off(name: str, **known: int) -> None:
    """Let imports of a module find one that has these names alone, until more of it is wanted."""
    spec = find_spec(name)
    if name not in sys.modules and spec is not None:
        module = module_from_spec(spec)
        module.__class__ = Unexecuted
        vars(module).update(known)
        sys.modules[name] = module
        parent, _, own = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], own, module)


def _load_parts() -> None:
    for name in PACKAGES:
        _put_off(name)
    package = sys.modules["gssapi.raw"]
    try:
        for enum in ENUMS:
            import_module(f"gssapi.raw.{enum}")
        for part in PARTS:
            names = vars(import_module(f"gssapi.raw.{part}"))
            vars(package).update({name: names[name] for name in names if not name.startswith("_")})
    except ImportError:  # of a version that is made in another way
        execute("gssapi")


if "gssapi" not in sys.modules and find_spec("gssapi"):
    _put_off("inspect", **CODE_FLAGS)
    _load_parts()

from gssapi import raw as raw  # noqa: E402
