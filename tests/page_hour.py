"""One hour of a page's world in a process of its own, as a feed is: `page_hour.py FOLDER NOW_MS`, prints the status.

Its exchange has the bars that `hour.json` beside the store tells.
"""

import json
import sys
from pathlib import Path

from barfeed.domain.bars import Bar
from barfeed.machine.clock import SystemClock
from barfeed.replay.tapes.tape import Tape
from barfeed.store.port.embedded import Embedded
from page_world import HOUR_BARS, PageWorld
from world import BTCUSDT_1H

folder = Path(sys.argv[1])
bars = [Bar(*each) for each in json.loads((folder / HOUR_BARS).read_text("utf-8"))]
world = PageWorld(folder, Tape.of(BTCUSDT_1H, bars))
world.one.clock.go_to(int(sys.argv[2]))
# The hour's clock is a made-up one; a store that somebody reads is waited for by the machine's.
world.one.feed = world.one.feed._replace(store=Embedded(world.duckdb, SystemClock(), 60.0))
sys.stdout.write(f"{world.one.run(catch_up=True).status}\n")
