"""What a command takes: seconds, those of a processor, its most memory.

    python benchmarks/market/cost.py COMMAND...

A process of its own, and a small one: the system counts the memory of who starts a child as the child's, and who makes
stores has much.
"""

import os
import subprocess
import sys
import time


def main() -> int:
    begin_sec = time.perf_counter()
    with subprocess.Popen((sys.executable, *sys.argv[1:]), stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    # The system tells KiB.
    print(time.perf_counter() - begin_sec, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
