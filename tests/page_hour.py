"""One hour of a page's world in a process of its own, as a feed is: `page_hour.py FOLDER NOW_MS`, prints the status."""

import sys
from pathlib import Path

from barfeed.machine.clock import SystemClock
from barfeed.store.port.embedded import Embedded
from page_world import PageWorld, real_tape

world = PageWorld(Path(sys.argv[1]), real_tape())
world.one.clock.go_to(int(sys.argv[2]))
# The hour's clock is a made-up one; a store that somebody reads is waited for by the machine's.
world.one.feed = world.one.feed._replace(store=Embedded(world.duckdb, SystemClock(), 60.0))
sys.stdout.write(f"{world.one.run(catch_up=True).status}\n")
