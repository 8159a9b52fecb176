"""The part of the build that pyproject.toml can't say: native modules are compiled where there is a compiler, and left out where not."""

import os

from setuptools import Extension, setup

# Without a compiler the install succeeds all the same, and slower code stands in. Where they must be there (CI, wheels to be published),
# the variable makes their absence an error.
required = os.environ.get("DELTASYNC_REQUIRE_KERNEL") == "1"
extensions = [
    Extension(
        f"deltasync._native.{name}",
        sources=[f"deltasync/_native/{name}.c"],
        extra_compile_args=["-O3", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror=implicit-function-declaration"],
        py_limited_api=True,
        optional=not required,
    )
    for name in ("kernel", "bulk")
]
setup(ext_modules=extensions, options={"bdist_wheel": {"py_limited_api": "cp311"}})
