#!/usr/bin/env python3
"""Sets up this checkout in .venv and runs it. Needs Python 3.11 or newer and nothing else.

python3 dev.py demo [folder]     installs asyncsched here and runs the workshop demo; Ctrl-C ends it
python3 dev.py test [options]    installs nox here and runs the test suite; the options are pytest's
python3 dev.py nox ...           any nox session, e.g. -s lint types
python3 dev.py VERB ...          any asyncsched verb, e.g. run app:scheduler
"""

# Old Pythons read this file too, to say what they lack: no syntax newer than 3.6 here.
import configparser
import hashlib
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urljoin
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
ENOUGH = "import sys; sys.exit(sys.version_info < (3, 11))"
CURE = "install it (Debian, Ubuntu: apt-get install python3-venv; or uv), then try again"


def works(*command):
    """Whether the command can be run and succeeds, without a word."""
    try:
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.run([str(part) for part in command], **quiet).returncode == 0
    except OSError:
        return False


def call(*command):
    return subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL).returncode == 0


def say(text):
    print("dev.py: " + text, file=sys.stderr, flush=True)


def become(*command):
    """Runs the command in place of this program, so that signals and the exit code are its own."""
    command = [str(part) for part in command]
    if os.name == "nt":  # where exec returns to the shell at once
        sys.exit(subprocess.run(command).returncode)
    os.execv(command[0], command)


def pip_option(name):
    """What pip is told by the environment or its configuration files, "" if nothing."""
    conf = configparser.ConfigParser(interpolation=None, strict=False)
    home = os.environ.get("XDG_CONFIG_HOME", "~/.config")
    files = ["/etc/xdg/pip/pip.conf", "/etc/pip.conf", "~/.pip/pip.conf", home + "/pip/pip.conf"]
    conf.read([Path(file).expanduser() for file in [*files, os.environ.get("PIP_CONFIG_FILE", os.devnull)]])
    said = os.environ.get("PIP_" + name.upper().replace("-", "_"))
    return said or conf.get("install", name, fallback=conf.get("global", name, fallback=""))


def fetch_pip(folder):
    """The newest pip that the indexes of pip's own configuration have, its checksum compared; None without any."""
    context = ssl.create_default_context(cafile=pip_option("cert") or None)
    found = []
    for index in (pip_option("index-url") + " " + pip_option("extra-index-url")).split():
        page = index.rstrip("/") + "/pip/" + ("index.html" if index.startswith("file:") else "")
        try:
            links = re.findall(r"<a\s[^>]*>", urlopen(page, context=context, timeout=60).read().decode())
        except OSError as error:
            say(f"{page}: {error}")
            continue
        for link in links:
            parts = re.search(r"href=[\"']([^\"'#]*?(pip-([\d.]+)-py3-none-any\.whl))#sha256=([0-9a-f]{64})", link)
            if parts and "data-yanked" not in link:
                version = [int(number) for number in parts.group(3).split(".")]
                found.append((version, urljoin(page, parts.group(1)), parts.group(2), parts.group(4)))
    if not found:
        return None
    _version, url, name, checksum = max(found)
    data = urlopen(url, context=context, timeout=60).read()
    if hashlib.sha256(data).hexdigest() != checksum:
        sys.exit("dev.py: " + url + " does not match its checksum")
    wheel = Path(folder) / name
    wheel.write_bytes(data)
    return wheel


def make_venv():
    """Makes .venv, with pip in it. One that works is kept; the system's Python is not touched."""
    if works(PYTHON, "-c", ENOUGH) and works(PYTHON, "-m", "pip", "--version"):
        return
    if not works(PYTHON, "-c", ENOUGH):
        say("making " + VENV.name)
        shutil.rmtree(str(VENV), ignore_errors=True)
        if not call(sys.executable, "-m", "venv", "--without-pip", VENV):
            sys.exit("dev.py: this Python lacks the module venv: " + CURE)
    if works(PYTHON, "-m", "ensurepip", "--default-pip"):
        return
    # Debian's bare python3 has no ensurepip; its python3-pip, uv or the configured index will do.
    if works(sys.executable, "-m", "pip", "--python", PYTHON, "install", "pip"):
        return
    uv = shutil.which("uv")
    if uv and works(uv, "pip", "install", "--python", PYTHON, "pip"):
        return
    with tempfile.TemporaryDirectory() as folder:
        wheel = fetch_pip(folder)
        if wheel is None or not call(PYTHON, wheel / "pip", "install", "--quiet", "--no-index", wheel):
            sys.exit("dev.py: this Python has neither ensurepip nor pip, and no index is configured for pip: " + CURE)


def install(stamp, *requirements):
    """Installs into .venv, once for each pyproject.toml and interpreter. Tells whether it did or had."""
    state = (ROOT / "pyproject.toml").read_bytes() + str((ROOT, sys.version, requirements)).encode()
    wanted, file = hashlib.sha256(state).hexdigest(), VENV / (".installed-" + stamp)
    if file.exists() and file.read_text() == wanted:
        return True
    say(f"installing {' '.join(requirements)} into {VENV.name}")
    if call(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements):
        file.write_text(wanted)
        return True
    return False


def newer_python():
    for minor in range(30, 10, -1):
        found = shutil.which(f"python3.{minor}")
        if found and works(found, "-c", ENOUGH):
            return found
    return sys.exit("dev.py: Python 3.11 or newer is needed, this is " + sys.version.split()[0])


def main(verb="help", *rest):
    if verb in ("help", "-h", "--help"):
        print(__doc__.strip())
        return
    if sys.version_info < (3, 11):
        become(newer_python(), __file__, verb, *rest)
    make_venv()
    if verb in ("test", "nox"):
        if not (install("nox", "nox[uv]") or install("nox", "nox")):
            sys.exit("dev.py: could not install nox; pip's own words are above")
        chosen = ["-s", "tests", "--", *rest] if verb == "test" else rest
        become(PYTHON, "-m", "nox", "--noxfile", ROOT / "noxfile.py", *chosen)
    if not install("asyncsched", "--editable", str(ROOT) + "[standard]"):
        sys.exit("dev.py: could not install asyncsched; pip's own words are above")
    if verb != "demo":
        become(PYTHON, "-m", "asyncsched", verb, *rest)
    os.environ["PYTHONPATH"] = str(ROOT / "examples")
    become(PYTHON, "-m", "workshop", *rest)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)  # as shells say it; what was half installed is installed anew next time
