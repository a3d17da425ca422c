"""`barfeed alert test`: whether the channels work, before there is trouble."""

from typing import Any

import click

from barfeed.cli.hints import examples
from barfeed.cli.market.choice import choice
from barfeed.cli.settings import Settings, options_of
from barfeed.cli.terminal import log_to_stderr, say
from barfeed.domain.errors import UsageError

# In all, whatever the channels do.
_WAIT_SEC = 20.0
_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(epilog=examples("barfeed alert test"), context_settings=_HELP)
def alert() -> None:
    """What tells people of trouble."""


@alert.command(epilog=examples("barfeed alert test", "barfeed alert test --alert ntfy://topic"), context_settings=_HELP)
@options_of(
    "alert", "symbol", "interval", "intervals", "debug", symbols="Name a market in the title instead of one series."
)
def test(**values: Any) -> int:
    """Send a test message to every channel; exit 0 when each took it, 1 when not."""
    settings = Settings(**values)
    log_to_stderr(settings)
    named = _named(settings)
    if not settings.alert:
        raise UsageError("there is no channel to test", hint="give one with --alert, see docs/alerts.md")
    from barfeed.machine.clock import SystemClock  # noqa: PLC0415
    from barfeed.operate.alerts.channels import channels, require_apprise  # noqa: PLC0415
    from barfeed.operate.alerts.delivery import try_out  # noqa: PLC0415

    require_apprise()
    answers = try_out(channels(settings.alert), named, SystemClock(), _WAIT_SEC)
    for name, why in answers.items():
        say(f"{name}: {f'failed: {why}' if why else 'ok'}")
    return int(any(answers.values()))


def _named(settings: Settings) -> str:
    """What is fed, as the titles of its alerts have it."""
    if many := choice(settings):
        return ", ".join(f"{many.selection} {each}" for each in many.intervals)
    return str(settings.series())
