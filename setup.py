"""Build the compiled core; SSO_EXTENSION says if it is wanted: yes (or fail), no, auto (the default)."""

import os
from glob import glob

from setuptools import Extension, setup

WANTED = os.environ.get("SSO_EXTENSION") or "auto"
if WANTED not in ("yes", "no", "auto"):
    raise SystemExit(f"SSO_EXTENSION is {WANTED!r}; it can be yes, no or auto")

extensions: list[Extension] = []
if WANTED != "no":
    from Cython.Build import cythonize

    extensions = cythonize(
        [
            Extension(
                "sso._framing",
                ["src/sso/_framing.pyx"],
                include_dirs=["src/sso/_core"],
                depends=["src/sso/_base64.pxi", *sorted(glob("src/sso/_core/*.h"))],
                extra_compile_args=["-O3"],
            )
        ],
        build_dir="build/cython",  # no generated .c beside the source
        language_level=3,
        compiler_directives={"autotestdict": False},  # its __test__ would not match _framing.pyi
        show_all_warnings=False,
    )
    for extension in extensions:
        extension.optional = WANTED != "yes"  # cythonize drops it, so it is set after

setup(ext_modules=extensions)
