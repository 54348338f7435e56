"""Loads the compiled core once for each base64 kernel that this CPU supports, all in one process.

A kernel is chosen when the core is imported (SSO_BASE64), and a process imports an extension once; so the
file is copied, and each copy is a core of its own.
"""

import os
import shutil
import tempfile
from functools import cache
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from sso import _framing

KERNELS: tuple[str, ...] = _framing.KERNELS


@cache
def core(kernel: str) -> Any:
    """A compiled core that uses that kernel."""
    file = Path(_framing.__file__)
    before = os.environ.get("SSO_BASE64")
    os.environ["SSO_BASE64"] = kernel
    try:
        with tempfile.TemporaryDirectory() as folder:
            copy = shutil.copy(file, Path(folder) / f"{kernel}-{file.name}")
            spec = spec_from_file_location(
                "sso._framing", copy, loader=ExtensionFileLoader("sso._framing", str(copy))
            )
            assert spec is not None and spec.loader is not None
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
    finally:
        del os.environ["SSO_BASE64"]
        if before is not None:
            os.environ["SSO_BASE64"] = before
    assert kernel == module.KERNEL, f"asked for {kernel}, got {module.KERNEL}"
    return module
