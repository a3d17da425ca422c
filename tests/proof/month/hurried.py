"""The feed for a month that takes minutes: the stream's patience is as short as an hour is, the rest is as shipped.

The exchange cuts each connection after 24 of its hours, here every few seconds: without this the pauses, meant for a
line that breaks within minutes, would grow until no hour is heard at all.
"""

from barfeed.cli.commands.feed.run import run
from barfeed.cli.main import main
from barfeed.exchange.stream.follower import Stream

SILENT_AFTER_SEC = 15.0

(Stream.__init__.__kwdefaults__ or {}).update(silent_after_sec=SILENT_AFTER_SEC, good_after_sec=0.0)

if __name__ == "__main__":
    main(run)
