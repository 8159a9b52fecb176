"""The part of the build that pyproject.toml can't say: the native engine is compiled where there is a compiler, and left out where not."""

import os

from setuptools import Extension, setup

# Without a compiler the install succeeds all the same, and a slower engine stands in. Where it must be there (CI, wheels to be published),
# the variable makes its absence an error.
required = os.environ.get("DELTASYNC_REQUIRE_KERNEL") == "1"
kernel = Extension(
    "deltasync._native.kernel",
    sources=["deltasync/_native/kernel.c"],
    extra_compile_args=["-O3", "-std=c11", "-Wall", "-Wextra", "-Werror=implicit-function-declaration"],
    py_limited_api=True,
    optional=not required,
)
setup(ext_modules=[kernel], options={"bdist_wheel": {"py_limited_api": "cp311"}})
