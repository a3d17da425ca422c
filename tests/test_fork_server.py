"""A command that the fork server runs is as one that Python started."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import fork_server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each command is a new interpreter")

SEEN = """
import os, sys
print(__name__, sys.argv[1:], sys.path[0], os.getcwd(), os.environ["SEEN"])
print(repr(sys.stdin.read()), os.listdir("/proc/self/fd"))
print("complained", file=sys.stderr)
sys.exit(7)
"""
ENDS = {
    "import sys; sys.exit('why')": 1,
    "raise KeyError('x')": 1,
    "raise KeyboardInterrupt": -signal.SIGINT,
    "import os; os._exit(9)": 9,
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": -signal.SIGKILL,
    "import os, signal; os.kill(os.getpid(), signal.SIGTERM)": -signal.SIGTERM,
    "import os; assert os.fork() or not os.execv('/bin/true', ['true']); os.wait()": 0,
}


def both(tmp_path: Path, code: str, **environment: str) -> "list[subprocess.CompletedProcess[str]]":
    """How a script ends in a process of the server and in one of its own."""
    script = tmp_path / "script.py"
    script.write_text(code)
    command, env = [sys.executable, str(script), "a", "b"], os.environ | environment
    return [
        fork_server.run(command, env, cwd=tmp_path),
        subprocess.run(
            command, env=env, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        ),
    ]


def test_it_sees_the_words_the_folder_the_environment_and_no_other_files(tmp_path: Path) -> None:
    forked, started = both(tmp_path, SEEN, SEEN="yes")
    assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)


@pytest.mark.parametrize("code", ENDS)
def test_it_ends_as_it_would(tmp_path: Path, code: str) -> None:
    assert [each.returncode for each in both(tmp_path, code)] == [ENDS[code], ENDS[code]]


def test_every_command_is_a_process_and_more_than_a_pipe_holds_is_read(tmp_path: Path) -> None:
    code = "import os; print(os.getpid()); print('x' * 200_000)"
    printed = [both(tmp_path, code)[0].stdout.split() for _ in range(2)]
    assert printed[0][0] != printed[1][0]
    assert {line for _, line in printed} == {"x" * 200_000}


def test_what_only_a_new_interpreter_reads_is_read(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('customized')")
    forked, _ = both(tmp_path, "print('ran')", PYTHONPATH=str(tmp_path))
    assert forked.stdout == "customized\nran\n"


def test_one_that_never_ends_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "hangs.py"
    script.write_text("while True: pass")
    # It raises when both streams have ended, and they end with the process.
    with pytest.raises(subprocess.TimeoutExpired):
        fork_server.run([sys.executable, script], os.environ, timeout_sec=0.2)
