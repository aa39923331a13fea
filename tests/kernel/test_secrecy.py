"""Another process of the same user does not read what a process was told in its environment."""

import subprocess
import sys
from pathlib import Path

import pytest

import headrace

BECOME_NOBODY = """
import ctypes, os, sys
sys.path.insert(0, sys.argv[1])
from headrace.kernel.secrecy import keep_secrets
if os.geteuid() == 0:  # root sees everything
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as if it had been started by that user
"""
SECRETIVE = """
if sys.argv[2] == "kept":
    keep_secrets()
print("ready", flush=True)
sys.stdin.read()
"""
CURIOUS = """
try:
    found = open(f"/proc/{sys.argv[2]}/environ").read()
except PermissionError:
    print("refused")
else:
    print("HEADRACE_TOKEN=secret" in found)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows a process's environment as a file")
@pytest.mark.parametrize(("kept", "seen"), [("kept", "refused"), ("shown", "True")])
def test_a_neighbour_of_the_same_user_sees_no_secrets(kept: str, seen: str) -> None:
    source = str(Path(headrace.__file__).parents[1])
    secret = [sys.executable, "-c", BECOME_NOBODY + SECRETIVE, source, kept]
    environment = {"HEADRACE_TOKEN": "secret"}
    with subprocess.Popen(secret, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as secretive:
        assert secretive.stdout is not None
        assert secretive.stdout.readline() == b"ready\n"
        curious = [sys.executable, "-c", BECOME_NOBODY + CURIOUS, source, str(secretive.pid)]
        found = subprocess.run(curious, capture_output=True, text=True, check=True, env={})
        secretive.kill()
    assert found.stdout.strip() == seen
