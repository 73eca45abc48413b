"""Build hook: compile `core/` into the wheel, or leave a wheel of pure Python.

The environment variable BPE_TOK_BUILD decides:

- `auto` (or unset): compile; where that is not possible, say so and leave a pure wheel
- `require`: compile; where that is not possible, fail
- `skip`: leave a pure wheel
"""

import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODULE = "bpe_tok._core"
# The oldest Python whose stable ABI the extension keeps to: one wheel serves it and all later ones.
LIMITED_API = ("0x030A0000", "cp310")
# Nothing for this machine's own processor: what newer ones have is chosen at run time.
UNIX_FLAGS = ["-std=c++17", "-O3", "-g0", "-fvisibility=hidden", "-fvisibility-inlines-hidden"]
MSVC_FLAGS = ["/std:c++17", "/O2", "/EHsc", "/utf-8"]


class CoreBuildHook(BuildHookInterface):
    """Add the compiled core to a wheel, or to the source tree of an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the wheel is put together."""
        editable = version == "editable"
        # In a folder of its own, so that builds of one source tree may run at the same time and
        # an extension left by an editable install never gets into a wheel. It goes with the hook.
        self._folder = tempfile.TemporaryDirectory(prefix="bpe-tok-build-")
        try:
            extension = self._extension(Path(self._folder.name))
        except BaseException:
            if editable:
                self._remove_all_but(None)
            raise
        if editable:
            placed = extension and self._place(extension)
            self._remove_all_but(placed)
        elif extension:
            platform = self.build_config.builder.get_best_matching_tag().rpartition("-")[2]
            build_data["pure_python"] = False
            build_data["tag"] = f"{LIMITED_API[1]}-abi3-{platform}"
            build_data["force_include"][str(extension)] = f"bpe_tok/{extension.name}"

    def clean(self, versions: list[str]) -> None:
        """Remove what an editable install left in the source tree."""
        self._remove_all_but(None)

    def _extension(self, folder: Path) -> Path | None:
        """Return the compiled extension in `folder`, or None if the wheel is to be pure."""
        mode = os.environ.get("BPE_TOK_BUILD") or "auto"
        if mode not in ("auto", "require", "skip"):
            raise ValueError(
                f"BPE_TOK_BUILD={mode!r} must be 'auto' (compile the core if possible), 'require' "
                "(fail if not) or 'skip' (pure Python); unset, it is 'auto'"
            )
        if mode == "skip":
            return None
        try:
            check_stable_abi()
            return compile_core(Path(self.root), folder)
        # Whatever is missing or broken here, be it a compiler, Python's headers or setuptools.
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            if mode == "require":
                raise RuntimeError(
                    f"The core of bpe-tok was not compiled, and BPE_TOK_BUILD is 'require' "
                    f"({reason}). The compiler's output is above. Install a C++17 compiler and "
                    "Python's headers, or unset BPE_TOK_BUILD to have pure Python instead"
                ) from error
            self.app.display_warning(
                f"bpe-tok: the core was not compiled ({reason}). What is installed is pure Python: "
                "it does the same, many times slower. For the core, install a C++17 compiler and "
                "Python's headers, then install bpe-tok again; BPE_TOK_BUILD=require shows why "
                "it fails"
            )
            return None

    @property
    def _package(self) -> Path:
        return Path(self.root, "src", "bpe_tok")

    def _place(self, extension: Path) -> Path:
        """Put the extension beside the sources at once: no one ever sees a part of it."""
        target = self._package / extension.name
        copy = self._package / f".{extension.name}.{os.getpid()}.tmp"
        try:
            shutil.copyfile(extension, copy)
            copy.replace(target)
        finally:
            copy.unlink(missing_ok=True)
        return target

    def _remove_all_but(self, placed: Path | None) -> None:
        """Remove older extensions beside the sources, which Python would go on importing."""
        for pattern in ("_core*.so", "_core*.pyd"):
            for path in self._package.glob(pattern):
                if path != placed:
                    path.unlink(missing_ok=True)


def check_stable_abi() -> None:
    """Raise where Python has no stable ABI to compile for."""
    if sys.implementation.name != "cpython":
        raise RuntimeError(f"{sys.implementation.name} has no stable ABI")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise RuntimeError("free-threaded Python has no stable ABI")


def compile_core(root: Path, folder: Path) -> Path:
    """Compile `core/module.cpp` into `folder`, and return the extension."""
    core = root / "core"
    source = core / "module.cpp"
    if not source.is_file():
        raise FileNotFoundError(f"{source} is missing")

    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    class BuildExt(build_ext):
        def build_extension(self, extension: Extension) -> None:
            msvc = self.compiler.compiler_type == "msvc"
            extension.extra_compile_args = MSVC_FLAGS if msvc else UNIX_FLAGS
            super().build_extension(extension)

    extension = Extension(
        MODULE,
        sources=[str(source)],
        depends=[str(header) for header in core.glob("*.hpp")],
        define_macros=[("Py_LIMITED_API", LIMITED_API[0])],
        # Without debugging symbols it is a fraction of the size.
        extra_link_args=["-s"] if sys.platform == "linux" else [],
        language="c++",
        py_limited_api=True,
    )
    command = BuildExt(Distribution({"name": "bpe-tok", "ext_modules": [extension]}))
    command.build_lib = command.build_temp = str(folder)
    command.ensure_finalized()
    command.run()
    return folder / command.get_ext_filename(MODULE)
