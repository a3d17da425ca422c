"""A process that has imported barfeed and forks for each command: hundreds of them pay once for Python's start.

What it runs is a process of its own, with its own id, streams, environment, folder and end. A test takes a new
interpreter instead where it is about what comes before the fork: what is imported and how long that takes, Python's own
flags, a module's side effects, a `sitecustomize`; or where it holds the process itself, to signal it or to trace it.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from barfeed.cli.main import COMMANDS

# More than a command and its environment; and the words of an answer, a number.
_REQUEST_BYTES, _ANSWER_BYTES = 1 << 17, 32
# What the interpreter, the C library or the linker has read before it could be told otherwise.
_READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_")
# Beside the commands: what they import only as they run.
_IMPORTED_LATE = (
    "barfeed.cli.wiring", "barfeed.exchange.rest", "barfeed.feed.cycle", "barfeed.store.duckdb",
    "barfeed.cli.market.wiring", "barfeed.exchange.transport.together", "barfeed.feed.market.one_pass",
)  # fmt: skip


def run(
    command: Sequence[str | Path], env: Mapping[str, str], *, cwd: Path | None = None, timeout_sec: float = 60
) -> "subprocess.CompletedProcess[str]":
    """As `subprocess.run` with both streams captured; a new process where it is no script of this Python's.

    Raises `subprocess.TimeoutExpired`; the command is killed then.
    """
    words = [str(word) for word in command]
    script = words[1:] if words[0] == sys.executable else words
    if sys.platform != "linux" or not _is_script(script[0]) or _read_at_start(env) != _read_at_start(os.environ):
        return subprocess.run(words, env=env, cwd=cwd, capture_output=True, text=True, timeout=timeout_sec, check=False)
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    with _asked({"words": script, "env": dict(env), "folder": str(cwd or Path.cwd())}, out_end, err_end) as answers:
        with ThreadPoolExecutor(2) as readers:
            printed = [readers.submit(_read, stream) for stream in (out, err)]
            code = _exit_code(answers, words, timeout_sec)
        return subprocess.CompletedProcess(words, code, *(each.result() for each in printed))


@cache
def _is_script(word: str) -> bool:
    """Whether it is a file of Python's or a command beside this one, and no flag or another program."""
    path = Path(word)
    return path.suffix == ".py" or (path.is_file() and path.parent == Path(sys.executable).parent)


def _read_at_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(_READ_AT_START)}


def _asked(request: dict[str, Any], *streams: int) -> socket.socket:
    answers, answering = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with answering:
        socket.send_fds(_server(), [json.dumps(request).encode()], [*streams, answering.fileno()])
    for stream in streams:
        os.close(stream)
    return answers


def _read(stream: int) -> str:
    with os.fdopen(stream) as printed:
        return printed.read()


def _exit_code(answers: socket.socket, words: list[str], timeout_sec: float) -> int:
    pid = int(answers.recv(_ANSWER_BYTES))
    answers.settimeout(timeout_sec)
    try:
        return int(answers.recv(_ANSWER_BYTES))
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        raise subprocess.TimeoutExpired(words, timeout_sec) from None


@cache
def _server() -> socket.socket:
    requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        server = subprocess.Popen([sys.executable, __file__], stdin=theirs.fileno())

    def end() -> None:
        requests.close()
        server.wait()

    atexit.register(end)
    return requests


# What one of two closes would be the other's: a fork of whoever asks starts its own.
os.register_at_fork(after_in_child=_server.cache_clear)


def _serve(requests: socket.socket) -> None:
    """Come back in the process of a command, and in no other; end with whoever asks."""
    while True:
        request, streams, _, _ = socket.recv_fds(requests, _REQUEST_BYTES, 3)
        _reap()
        if not request:
            os._exit(0)
        if not os.fork():
            requests.close()
            _begin(json.loads(request), *streams)
            return
        for stream in streams:
            os.close(stream)


def _reap() -> None:
    # What they used of the machine is counted with what the tests used.
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _begin(request: dict[str, Any], out: int, err: int, answering: int) -> None:
    """Come back in a child that is as a new process would be; wait for it in the parent, and tell how it ended."""
    if child := os.fork():
        _tell(child, out, err, answering)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(out, 1)
    os.dup2(err, 2)
    for stream in (out, err, answering):
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    os.chdir(request["folder"])
    sys.argv[:] = request["words"]


def _tell(child: int, out: int, err: int, answering: int) -> None:
    for stream in (out, err):
        os.close(stream)
    with socket.socket(fileno=answering) as answers:
        answers.send(str(child).encode())
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        # Who has killed the command for its time limit waits for no answer.
        with suppress(BrokenPipeError):
            answers.send(str(code).encode())
    os._exit(0)


def _import_what_commands_import() -> None:
    for module in (*COMMANDS.values(), *_IMPORTED_LATE):
        importlib.import_module(module)
    # Of a process with threads only one would come along.
    assert len([*Path("/proc/self/task").iterdir()]) == 1
    gc.freeze()


def main() -> None:
    """The server, and after each fork the command."""
    requests = socket.socket(fileno=os.dup(0))
    with Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
    # Ctrl-C is for whoever asks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _import_what_commands_import()
    _serve(requests)
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
