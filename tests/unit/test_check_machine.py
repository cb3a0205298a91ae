"""What `make` says, in one sentence, on a machine that lacks something."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "check_machine.sh"


@pytest.fixture
def machine(tmp_path):
    """A function that runs the check on a machine with the given programs only."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "awk"):
        (programs / name).symlink_to(shutil.which(name))
    (programs / "df").write_text("#!/bin/sh\necho 'File blocks used free'\necho '/dev/disk 0 0 5242880'\n")
    (programs / "df").chmod(0o755)

    def check(*there: str, python: str = sys.executable, backend: str = "cpu", rust: str = "1.101.0-nightly") -> tuple[int, str]:
        for name in there:
            (programs / name).write_text(f"#!/bin/sh\necho 'cargo {rust} (0b1c2d3e 2026-01-01)'\n")
            (programs / name).chmod(0o755)
        command = [str(programs / "sh"), str(SCRIPT), python, str(tmp_path / "venv"), backend]
        done = subprocess.run(command, env={"PATH": str(programs)}, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.stdout == ""
        return done.returncode, done.stderr.strip()

    return check


def test_a_machine_with_everything_passes_silently(machine):
    assert machine("cargo", "cc") == (0, "")


@pytest.mark.parametrize(
    ("there", "python", "said"),
    [
        (("cargo", "cc"), "python-that-is-not-there", "Python is missing: install Python 3.11 or newer"),
        (("cc",), sys.executable, "cargo is missing: install a Rust toolchain"),
        (("cargo",), sys.executable, "A C linker is missing"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(machine, there, python, said):
    status, told = machine(*there, python=python)
    assert status == 1
    assert told.startswith(said)
    assert len(told.splitlines()) == 1


def test_an_old_python_and_one_without_venv_are_told_apart(machine, tmp_path):
    def python(name: str, script: str) -> str:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    old = python("old", 'case "$*" in *version_info*) exit 1;; *--version*) echo Python 3.9.2;; esac')
    assert machine("cargo", "cc", python=old)[1].startswith("Python 3.9.2 is too old")
    bare = python("bare", 'case "$*" in *venv*) exit 1;; esac')
    assert machine("cargo", "cc", python=bare)[1].startswith("Python's venv module is missing")


def test_an_old_rust_is_told_with_what_is_needed(machine):
    status, told = machine("cargo", "cc", rust="1.75.0")
    assert status == 1
    assert told.startswith("Rust 1.75.0 is too old: install 1.")
    assert machine("cargo", "cc", rust="2.0.0") == (0, "")


def test_a_full_disk_is_told_before_the_download_and_not_once_it_is_done(machine, tmp_path):
    status, told = machine("cargo", "cc", backend="")
    assert (status, told) == (1, "Only 5 GiB are free here, and the environment needs about 9: free some (TORCH_BACKEND=cpu needs 4).")
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / ".installed").touch()
    assert machine("cargo", "cc", backend="") == (0, "")
