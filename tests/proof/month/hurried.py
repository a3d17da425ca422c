"""The feed for a month that takes minutes: the stream's patience is as short as an hour is, the rest is as shipped.

The exchange cuts each connection after 24 of its hours, here every few seconds: without this the pauses, meant for a
line that breaks within minutes, would grow until no hour is heard at all.
"""

from barfeed.cli.commands.feed.run import run
from barfeed.cli.main import main
from barfeed.exchange.stream.follower import Follower, Patience

SHORT: Patience = {"silent_after_sec": 15.0, "good_after_sec": 0.0}

_usual = Follower.__init__.__kwdefaults__ or {}
# Given to nobody, the month would be lived with the usual patience, and end at its first silence.
assert _usual.keys() >= SHORT.keys(), _usual
_usual.update(SHORT)

if __name__ == "__main__":
    main(run)
