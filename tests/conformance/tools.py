"""What the harness needs: programs of the system, and libraries in a folder of their own."""

import contextlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

# Command: Debian package.
PROGRAMS = {
    "nginx": "nginx-light",
    "curl": "curl",
    "openssl": "openssl",
    "node": "nodejs",
    "npm": "npm",
    "testssl": "testssl.sh",
    "slowhttptest": "slowhttptest",
    "h2load": "nghttp2-client",
    "chromium": "chromium",
}
PYTHON = Path(__file__).with_name("requirements.txt")
# They need no others.
NODE = ["undici@7.30.2", "ws@8.23.0"]


class Tools:
    """The libraries' places: an interpreter, and a folder with node_modules."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.python = self.folder / "venv/bin/python"
        self.node = self.folder / "node"

    def install(self):
        """Installs what is missing."""
        programs()
        if lacks(done := self.folder / "python.done", PYTHON.read_text()):
            print("Installing with pip what requirements.txt names", flush=True)
            venv.create(self.folder / "venv", with_pip=True, clear=True)
            run([str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", str(PYTHON)])
            done.write_text(PYTHON.read_text())
        if lacks(done := self.folder / "node.done", " ".join(NODE)):
            print(f"Installing with npm: {' '.join(NODE)}", flush=True)
            self.node.mkdir(exist_ok=True)
            run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--save-exact", "--prefix", str(self.node), *NODE])
            done.write_text(" ".join(NODE))


def lacks(done, wanted):
    """Whether a folder that was kept from another run has other versions, or none."""
    return not done.exists() or done.read_text() != wanted


def find(program):
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def programs():
    packages = [package for program, package in PROGRAMS.items() if not find(program)]
    if not packages:
        return
    by_hand = f"apt-get update && apt-get install -y {' '.join(packages)}"
    if not shutil.which("apt-get"):
        sys.exit(f"What is missing: {' '.join(packages)}. Install them with your system's package manager.")
    if os.geteuid() == 0:
        as_root = []
    elif shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
        as_root = ["sudo", "-n"]
    else:
        sys.exit(f"Packages are missing, and there is neither root nor sudo. Type this as root: {by_hand}")
    print(f"Installing with apt: {' '.join(packages)}", flush=True)
    apt = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]
    subprocess.run([*apt, "update"], stdin=subprocess.DEVNULL)
    with quiet_daemons(as_root):
        run([*apt, "install", "-y", "--no-install-recommends", *packages])


@contextlib.contextmanager
def quiet_daemons(as_root):
    """Keeps Debian from starting the daemons that it installs, where nothing else decides that."""
    policy = "/usr/sbin/policy-rc.d"
    if os.path.exists(policy):
        yield
        return
    write = f"printf '#!/bin/sh\\nexit 101\\n' > {policy} && chmod 755 {policy}"
    run([*as_root, "sh", "-c", write])
    try:
        yield
    finally:
        run([*as_root, "rm", "-f", policy])


def run(command):
    if subprocess.run(command, stdin=subprocess.DEVNULL).returncode:
        sys.exit(f"This failed: {' '.join(command)}")
