"""What goes wrong in the month: each scene is made by the test, noted in the ledger, and over when it returns."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from proof.month.month_world import HEARD_MS, SETTLED_MS, TABLE, Month

HOLD = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"


def fault(kind: str, *lines: str) -> str:
    return "\n".join(("[[fault]]", f'kind = "{kind}"', *lines, ""))


def revised(month: Month, back: int = 2) -> str:
    return fault("revise", f"bar = {month.bar(back)}", "volume = 1234.5")


def taken_back(month: Month) -> None:
    """The exchange revises a bar for three cycles, and takes it back."""
    month.trouble(revised(month), "mismatch", cycles=3, mismatches=1)
    month.look()
    month.over()


def revised_for_good(month: Month) -> None:
    """The exchange revises two bars, and an operator accepts that."""
    both = revised(month, 1) + revised(month, 3)
    month.trouble(both, "mismatch", cycles=2, mismatches=2)
    month.look()
    month.repair(both)
    month.over()


def hidden(month: Month) -> None:
    """A bar in the middle of the answer is not there."""
    month.trouble(fault("hide", f"bar = {month.bar(1)}"), "contract_broken", cycles=2)
    month.look()
    month.over()


def late(month: Month) -> None:
    """The bar comes at the third question."""
    month.good(fault("late", "sec = 3000", "rows = 2", 'requests = "1-2"'), late=2)


def later(month: Month) -> None:
    """The bar does not come while the cycle waits."""
    month.trouble(fault("late", "sec = 3000", "rows = 2"), "bar_late", retried="late")
    month.look()
    month.over()


def limited(month: Month) -> None:
    """Too many requests, once."""
    month.good(fault("status", "status = 429", "retry_after = 1", 'requests = "1"'), http_429=1)


def banned(month: Month) -> None:
    """The address is banned, for a second."""
    month.trouble(fault("status", "status = 418", "retry_after = 1"), "exchange_blocked", cycles=2)
    month.look()
    month.over()


def restricted(month: Month) -> None:
    """The exchange does not serve this place for more than a day."""
    here = fault("status", "status = 451")
    month.trouble(here, "exchange_refused", after_ms=60_000)
    month.look(60_000)
    for hour in range(1, 27):
        month.still(here, "exchange_refused")
        if hour == 24:
            month.ledger.reminder("exchange_refused")
        month.settle()
    month.over(27)


def overloaded(month: Month) -> None:
    """Two answers are the exchange's own trouble."""
    month.good(fault("status", "status = 503", 'requests = "1-2"'), http_503=2)


def down(month: Month) -> None:
    """Every answer is."""
    month.trouble(fault("status", "status = 500"), "exchange_unavailable", retried="http_500")
    month.look()
    month.over()


def maintained(month: Month) -> None:
    """A page for people, once."""
    month.good(fault("html", 'requests = "1"'), not_json=1)


def cut(month: Month) -> None:
    """The JSON ends in its middle, once."""
    month.good(fault("cut_json", 'requests = "1"'), not_json=1)


def broken_off(month: Month) -> None:
    """The connection ends in the middle of an answer, once."""
    month.good(fault("truncate", 'requests = "1"'), connection=1)


def reset(month: Month) -> None:
    """The connection is reset, once."""
    month.good(fault("reset", 'requests = "1"'), connection=1)


def hanging(month: Month) -> None:
    """An answer does not come while the cycle waits."""
    month.trouble(fault("hang", "sec = 60", 'requests = "1"'), "exchange_unavailable", retried="timeout")
    month.look()
    month.over()


def ahead(month: Month) -> None:
    """The exchange tells a time that its own answers are not dated by."""
    month.trouble(fault("skew", "ms = 3700000"), "contract_broken", retried="late")
    month.settle()
    month.check()
    month.over()


def standing(month: Month) -> None:
    """The exchange's clock stands still past a close: nothing is due, and nothing is told."""
    month.weather(fault("stale_time", "sec = 864000"))
    month.clock.set(month.target_ms + 2 * 3_600_000 + HEARD_MS)
    month.until("some looks", lambda: month.exchange.requests["/fapi/v1/time"] > 5)
    assert month.ended() == len(month.ledger.ended)
    # A frame that its own clock contradicts starts nothing: the hour is left to settle.
    month.good(after_ms=SETTLED_MS)


def unheard(month: Month) -> None:
    """The stream: no closing frame, a late one, one twice, nonsense, nothing, no connection."""
    month.good(fault("no_close"), closes=0, after_ms=SETTLED_MS)
    month.good(fault("late_close", "ms = 12000"), after_ms=12_500)
    month.good(fault("double_close"), closes=2)
    month.good(fault("garbage", 'text = "<html>"'), closes=0, after_ms=SETTLED_MS)
    month.good(fault("silence"), closes=0, after_ms=SETTLED_MS)
    connected = len(month.exchange.opened_ms)
    month.good(fault("disconnect"), closes=0, after_ms=SETTLED_MS)
    month.weather()
    month.until("it is followed anew", lambda: len(month.exchange.opened_ms) > connected)
    # One that was opened in the fault's last moment ends, too.
    month.until("it is connected", lambda: month.says()["barfeed_stream_connected"] == 1)


def silent(month: Month) -> None:
    """The stream stays silent until it is given up."""
    connected = len(month.exchange.opened_ms)
    month.weather(fault("silence"))
    month.until("it is given up", lambda: len(month.exchange.opened_ms) > connected)
    month.weather()
    assert month.says()["barfeed_stream_silences_total"] == 1


@contextmanager
def no_folder(month: Month) -> Iterator[None]:
    aside = month.folder / "aside"
    month.machine.artifacts.rename(aside)
    month.machine.artifacts.write_text("in the way")
    yield
    month.machine.artifacts.unlink()
    aside.rename(month.machine.artifacts)


def unwritable(month: Month) -> None:
    """The artifact folder cannot be written for an hour."""
    with no_folder(month):
        month.trouble("", "artifacts_unusable", cycles=3)
        month.look()
    month.over()


def locked(month: Month) -> None:
    """Another process holds the store to write for longer than is waited, and no window stands in for it."""
    (month.machine.artifacts / "latest_for_inference.csv").unlink()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(month.machine.duckdb)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()
        month.trouble("", "store_unusable", cycles=2)
        month.look()
        holder.stdin.close()
    month.over()


def holed(month: Month) -> None:
    """Somebody deletes three bars in two places; an operator repairs it."""
    gone = ", ".join(f"'{month.bar(back)}'" for back in (1, 2, 4))
    month.execute(f"DELETE FROM {TABLE} WHERE timestamp IN ({gone})")
    month.trouble("", "window_gap", cycles=2, gaps=2)
    month.look()
    month.repair()
    month.over()


def one_after_the_other(month: Month) -> None:
    """A mismatch, then a refusal, in one spell."""
    month.trouble(revised(month), "mismatch", mismatches=1, after_ms=60_000)
    month.look(60_000)
    month.still(fault("status", "status = 451"), "exchange_refused")
    month.settle()
    month.check()
    month.over(2)


def killed(month: Month) -> None:
    """Two days without the feed."""
    month.outage(48)


def killed_in_the_middle(month: Month) -> None:
    """Killed while the exchange lets it wait, within a cycle."""
    month.weather(fault("hang", "sec = 60", 'requests = "1"'))
    month.clock.set(month.target_ms + 2 * 3_600_000 + HEARD_MS)
    month.until("it waits", lambda: month.exchange.requests["/fapi/v1/klines"] == 1)
    month.outage(3)


Scene = Callable[[Month], None]

STORM: tuple[Scene, ...] = (
    taken_back, late, revised_for_good, hidden, later, limited, banned, restricted, overloaded, down, maintained, cut,
    broken_off, reset, hanging, ahead, standing, unheard, silent, unwritable, locked, holed, one_after_the_other,
    killed, killed_in_the_middle,
)  # fmt: skip
SHOWER: tuple[Scene, ...] = (taken_back, late, hidden, unwritable, holed, one_after_the_other)
