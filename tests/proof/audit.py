"""`make audit`: known weaknesses of the installed dependencies; without a network, a word and no more."""

import subprocess
import sys

_UNREACHED = ("ConnectionError", "NewConnectionError", "NameResolutionError", "ProxyError", "Timeout", "SSLError")


def main(command: list[str]) -> int:
    """The audit's own exit code, 0 where its databases could not be reached."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and any(word in done.stderr for word in _UNREACHED):
        print("audit: skipped: no network")  # noqa: T201 - a command's output
        return 0
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main([sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--progress-spinner", "off"]))
