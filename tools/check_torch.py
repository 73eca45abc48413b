"""Test tlm-layers and tlm-optim with other versions of torch, each in an environment of its own.

    hatch run python tools/check_torch.py 2.6.0 [2.14.1 ...]

A version that cannot be installed on this machine is said and passed over: torch for Linux brings
gigabytes of libraries with it.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ["packages/tlm-layers", "packages/tlm-optim"]
TOOLS = ["hypothesis", "numpy", "pytest", "pytest-timeout", "safetensors", "transformers>=5"]
INSTALL_SECONDS = 1200


def check(version: str) -> bool:
    """Run the suites with a version of torch; True unless a test fails."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"torch-{version}-") as folder:
        python = Path(folder) / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        install = [python, "-m", "pip", "install", "--quiet", f"torch=={version}", *TOOLS]
        try:
            subprocess.run(install, check=True, timeout=INSTALL_SECONDS)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            print(f"torch {version}: NOT CHECKED, it cannot be installed here ({error})")
            return True
        installed = time.monotonic()
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(ROOT / package / "src") for package in PACKAGES),
            "OMP_NUM_THREADS": "1",
        }
        tests = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *PACKAGES]
        code = subprocess.run(tests, cwd=ROOT, env=environment).returncode
        tested = time.monotonic()
    result = "passed" if code == 0 else "FAILED"
    print(f"torch {version}: {result}; ", end="")
    print(f"installed in {installed - started:.0f} s, tested in {tested - installed:.0f} s")
    return code == 0


if __name__ == "__main__":
    results = [check(version) for version in sys.argv[1:]]
    sys.exit(0 if all(results) else 1)
