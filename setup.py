"""Builds leakrepro._native from csrc/. All other settings are in pyproject.toml.

LEAKREPRO_CUDA=auto|0|1: auto (default) builds the CUDA sources if nvcc is found and works.
LEAKREPRO_REQUIRE_NATIVE=1: a failed build is an error. By default, the package is then installed
without the native kernel.
"""

import os
import shlex
import shutil
import subprocess
from glob import glob
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import setup
from setuptools.errors import BaseError, CCompilerError
from setuptools.modified import newer_group

CSRC = "csrc"
# Without fused multiply-add, scores are equal to those of rouge_score bit for bit.
CXX_FLAGS = ["-O3", "-ffp-contract=off"]
NVCC_FLAGS = [
    *("-O3", "-std=c++17", "-cudart", "static", "--fmad=false"),
    *("-Xcompiler", "-fPIC,-fvisibility=hidden,-ffp-contract=off"),
    *("-gencode", "arch=compute_80,code=sm_80"),
    *("-gencode", "arch=compute_90,code=sm_90"),
    *("-gencode", "arch=compute_90,code=compute_90"),
]
# The static runtime loads the driver on first use, so the module can be imported without a driver.
CUDA_LINK_FLAGS = ["-lcudart_static", "-ldl", "-lrt", "-lpthread", "-Wl,--exclude-libs,ALL"]

WITHOUT_NATIVE = """
The native kernel was not built ({error}).
leakrepro is installed without it and scores in Python, with the same results but much slower.
To build it, install a C++17 compiler and the Python headers (Debian: apt-get install g++
python3-dev) and install leakrepro again. LEAKREPRO_REQUIRE_NATIVE=1 makes this an error.
"""


def find_nvcc() -> str | None:
    """The CUDA compiler to use according to LEAKREPRO_CUDA; None to build without CUDA."""
    wanted = os.environ.get("LEAKREPRO_CUDA", "auto")
    if wanted not in ("auto", "0", "1"):
        raise SystemExit(f"LEAKREPRO_CUDA must be auto, 0 or 1, not {wanted!r}")
    if wanted == "0":
        return None
    home = os.environ.get("CUDA_HOME")
    nvcc = shutil.which("nvcc", path=str(Path(home, "bin")) if home else None)
    if wanted == "1" and nvcc is None:
        where = f"in CUDA_HOME={home}" if home else "on PATH (CUDA_HOME is not set)"
        raise SystemExit(f"LEAKREPRO_CUDA=1, but nvcc was not found {where}")
    return nvcc


def library_flags(nvcc: str) -> list[str]:
    """The -L flags of the CUDA toolkit, parsed from the output of nvcc -dryrun."""
    dryrun = subprocess.run(
        [nvcc, "-dryrun", "-x", "cu", os.devnull], capture_output=True, text=True, check=True
    )
    prefix = "#$ LIBRARIES="
    lines = (dryrun.stdout + dryrun.stderr).splitlines()
    return shlex.split(next(line for line in lines if line.startswith(prefix))[len(prefix) :])


class build_native(build_ext):
    """Adds the CUDA sources, and installs the package also if the extension cannot be built."""

    def build_extension(self, ext):
        try:
            self.add_cuda(ext)
            stamp, flags = Path(self.build_temp, "flags"), self.flags(ext)
            # Rebuild if the flags have changed, even if no source file has.
            self.force = self.force or not stamp.exists() or stamp.read_text() != flags
            super().build_extension(ext)
            stamp.write_text(flags)
        except (CCompilerError, BaseError) as error:
            # Delete any kernel that was built from older sources.
            filename = self.get_ext_filename(ext.name)
            for folder in (self.build_lib, "."):
                Path(folder, filename).unlink(missing_ok=True)
            if ext.optional:
                self.warn(WITHOUT_NATIVE.format(error=error))
            raise  # setuptools ignores the error if the extension is optional

    def add_cuda(self, ext):
        nvcc = find_nvcc()
        if nvcc is None:
            return
        objects = []
        try:
            for source in sorted(glob(f"{CSRC}/cuda/*.cu")):
                target = Path(self.build_temp, source).with_suffix(".cu.o")
                if newer_group([source, __file__, *glob(f"{CSRC}/**/*.h", recursive=True)], target):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    self.spawn([nvcc, *NVCC_FLAGS, f"-I{CSRC}", "-c", source, "-o", str(target)])
                objects.append(str(target))
            libraries = library_flags(nvcc)
        except (BaseError, CCompilerError, subprocess.CalledProcessError, StopIteration) as error:
            if os.environ.get("LEAKREPRO_CUDA") == "1":
                raise SystemExit(f"LEAKREPRO_CUDA=1, but {nvcc} failed: {error}") from error
            self.warn(f"{nvcc} failed ({error}); building without CUDA")
            return
        ext.extra_objects += objects
        ext.extra_link_args += [*libraries, *CUDA_LINK_FLAGS]
        ext.define_macros.append(("LEAKREPRO_WITH_CUDA", "1"))

    def flags(self, ext):
        return repr((ext.extra_compile_args, ext.extra_link_args, ext.define_macros))


setup(
    ext_modules=[
        Pybind11Extension(
            "leakrepro._native",
            sorted(glob(f"{CSRC}/**/*.cpp", recursive=True)),
            include_dirs=[CSRC],
            depends=sorted(glob(f"{CSRC}/**/*.h", recursive=True) + glob(f"{CSRC}/cuda/*.cu")),
            cxx_std=17,
            extra_compile_args=CXX_FLAGS,
            optional=os.environ.get("LEAKREPRO_REQUIRE_NATIVE") != "1",
        )
    ],
    cmdclass={"build_ext": build_native},
)
