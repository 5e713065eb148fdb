"""What dev.py does where there is no pip yet; that it sets a checkout up is shown by every CI run."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

DEV = Path(__file__).resolve().parent.parent.parent / "dev.py"


@pytest.fixture
def dev() -> ModuleType:
    """The module dev.py, fresh."""
    spec = importlib.util.spec_from_file_location("dev", DEV)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only configuration that pip has here, empty at first."""
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "pip.conf"
    path.write_text("[global]\nindex-url =\nextra-index-url =\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(path))
    return path


def index(folder: Path, *links: tuple[str, bytes, str]) -> str:
    """A simple index of these (wheel name, content, further attribute) as a URL."""
    page = folder / "simple" / "pip" / "index.html"
    page.parent.mkdir(parents=True)
    lines = []
    for name, content, more in links:
        (folder / name).write_bytes(content)
        lines.append(f'<a {more} href="../../{name}#sha256={hashlib.sha256(content).hexdigest()}">{name}</a>')
    page.write_text("\n".join(lines))
    return (folder / "simple").as_uri()


def test_pip_s_configuration_is_read_and_the_environment_comes_first(
    dev: ModuleType, conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dev.pip_option("index-url") == ""
    conf.write_text("[global]\nindex-url = https://a.example/simple\n")
    assert dev.pip_option("index-url") == "https://a.example/simple"
    monkeypatch.setenv("PIP_INDEX_URL", "https://b.example/simple")
    assert dev.pip_option("index-url") == "https://b.example/simple"


def test_the_newest_pip_that_was_not_withdrawn_is_fetched(dev: ModuleType, conf: Path, tmp_path: Path) -> None:
    url = index(
        tmp_path,
        ("pip-9.0-py3-none-any.whl", b"nine", ""),
        ("pip-25.1-py3-none-any.whl", b"new", ""),
        ("pip-26.0-py3-none-any.whl", b"bad", 'data-yanked="broken"'),
        ("pip_tools-99-py3-none-any.whl", b"other", ""),
    )
    conf.write_text(f"[global]\nindex-url =\nextra-index-url = {url}\n")
    (tmp_path / "into").mkdir()
    wheel = dev.fetch_pip(tmp_path / "into")
    assert (wheel.name, wheel.read_bytes()) == ("pip-25.1-py3-none-any.whl", b"new")


def test_a_pip_that_is_not_what_the_index_says_is_refused(dev: ModuleType, conf: Path, tmp_path: Path) -> None:
    url = index(tmp_path, ("pip-25.1-py3-none-any.whl", b"good", ""))
    (tmp_path / "pip-25.1-py3-none-any.whl").write_bytes(b"evil")
    conf.write_text(f"[global]\nindex-url = {url}\nextra-index-url =\n")
    with pytest.raises(SystemExit, match="does not match its checksum"):
        dev.fetch_pip(tmp_path)


def test_without_an_index_there_is_none_and_an_index_that_is_down_is_told(
    dev: ModuleType, conf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dev.fetch_pip(tmp_path) is None
    conf.write_text(f"[global]\nindex-url = {(tmp_path / 'nowhere').as_uri()}\nextra-index-url =\n")
    assert dev.fetch_pip(tmp_path) is None
    assert "nowhere" in capsys.readouterr().err


def test_help_says_the_commands() -> None:
    said = subprocess.run([sys.executable, DEV], capture_output=True, text=True, check=True).stdout
    assert "python3 dev.py demo" in said
    assert "python3 dev.py test" in said
