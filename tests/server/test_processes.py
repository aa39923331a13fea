"""Child processes end with their parent, also when it has died before they could ask for that."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")

ASK = "import sys; from headrace.server.processes import die_with_parent; die_with_parent(int(sys.argv[1]))"


@pytest.mark.parametrize("alive", [True, False])
def test_a_process_whose_parent_has_gone_ends_at_once(alive: bool) -> None:
    parent = os.getpid() if alive else -1  # who starts it is not who it was told
    ended = subprocess.run([sys.executable, "-c", ASK, str(parent)], timeout=60)
    assert ended.returncode == (0 if alive else 1)
