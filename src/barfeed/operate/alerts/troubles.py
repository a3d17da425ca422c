"""Which trouble people are told, when, and what is still to be delivered: decided from what was told before.

One message for one trouble: a spell begins with the first cycle that is not well and ends with the next
that is, and in between each kind of trouble is told once, and again every day that it lasts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from barfeed.domain import grid

# Hours are not exact to the second: the reminder belongs to the same hour of the next day.
REMIND_AFTER_MS = 24 * 3_600_000 - 30 * 60_000
# What nobody could deliver for longer is told by the next reminder, or over.
FORGET_AFTER_MS = 24 * 3_600_000
# Whoever took a letter and is not done by then, was killed.
TAKEN_FOR_MS = 60_000

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


@dataclass(frozen=True)
class Heard:
    """What one cycle says of one matter: itself, the clock, the market, the lake; `status` is empty if it is well."""

    matter: str
    series: str
    status: str = ""
    message: str = ""
    hint: str = ""
    newest: str = ""


@dataclass(frozen=True)
class Spell:
    """Trouble that lasts: since when, for how many cycles, and when each kind was told last. Times are ms."""

    since_ms: int
    cycles: int = 0
    told_ms: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Message:
    """What people are told. `level` is `failure`, `warning` or `success`."""

    matter: str
    level: str
    title: str
    body: str
    made_ms: int


@dataclass(frozen=True)
class Letter:
    """A message on its way to one channel; `taken_ms` (the machine's) is when somebody began to send it."""

    message: Message
    channel: str
    tries: int = 0
    taken_ms: int = 0


@dataclass(frozen=True)
class Ledger:
    """All that must be remembered from cycle to cycle: spells by their matter, and letters not delivered.

    `ahead_ms` is how far the exchange's clock was ahead of the machine's; None until it tells, once there is trouble.
    """

    spells: dict[str, Spell] = field(default_factory=dict)
    letters: tuple[Letter, ...] = ()
    ahead_ms: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is no trouble, and nothing to deliver."""
        return not self.spells and not self.letters


def by_the_exchange(ledger: Ledger, machine_ms: int, exchange_ms: int | None) -> tuple[Ledger, int]:
    """The ledger and the time now by one clock, the exchange's; None where it does not tell.

    Then it is the machine's, set as the exchange last told: a machine that is days off would take each change from one
    clock to the other for days that have passed.
    """
    if ledger.is_empty:
        # The machine's clock may have been set since.
        ledger = Ledger()
    ahead_ms = ledger.ahead_ms if exchange_ms is None else exchange_ms - machine_ms
    if ledger.ahead_ms is None and ahead_ms is not None:
        ledger = _moved(ledger, ahead_ms)
    return replace(ledger, ahead_ms=ahead_ms), machine_ms + (ahead_ms or 0)


def note(ledger: Ledger, heard: Sequence[Heard], channels: Sequence[str], now_ms: int) -> Ledger:
    """The ledger after a cycle: each matter that was heard of, and a letter to each channel where one is due."""
    fresh = tuple(each for each in ledger.letters if abs(now_ms - each.message.made_ms) < FORGET_AFTER_MS)
    ledger = replace(ledger, letters=fresh)
    for each in heard:
        message, spell = decide(ledger.spells.get(each.matter), each, now_ms)
        others = {matter: kept for matter, kept in ledger.spells.items() if matter != each.matter}
        ledger = replace(ledger, spells=others | ({each.matter: spell} if spell else {}))
        ledger = post(ledger, message, channels) if message else ledger
    return ledger


def decide(spell: Spell | None, heard: Heard, now_ms: int) -> tuple[Message | None, Spell | None]:
    """What to tell of a matter now, and its spell from now on."""
    if not heard.status:
        return (_well_again(spell, heard, now_ms) if spell else None), None
    spell = spell or Spell(now_ms)
    told_ms = spell.told_ms.get(heard.status)
    # A clock that was set back must not silence the reminder until it has caught up.
    is_due = told_ms is None or abs(now_ms - told_ms) >= REMIND_AFTER_MS
    lasting = replace(
        spell, cycles=spell.cycles + 1, told_ms=spell.told_ms | ({heard.status: now_ms} if is_due else {})
    )
    return (_trouble(lasting, heard, now_ms, again=told_ms is not None) if is_due else None), lasting


def take(ledger: Ledger, channel: str, now_ms: int) -> tuple[tuple[Letter, ...], Ledger]:
    """The letters to `channel` that nobody is sending, for the caller to send; by the machine's time."""
    letters = tuple(
        replace(each, tries=each.tries + 1, taken_ms=now_ms) if _is_free(each, channel, now_ms) else each
        for each in ledger.letters
    )
    taken = tuple(new for new, old in zip(letters, ledger.letters, strict=True) if new is not old)
    return taken, replace(ledger, letters=letters)


def settle(ledger: Ledger, letter: Letter, *, delivered: bool) -> Ledger:
    """The ledger after `letter` was sent, or could not be: then it is free to be taken again."""
    after = () if delivered else (replace(letter, taken_ms=0),)
    kept = (after if each == letter else (each,) for each in ledger.letters)
    return replace(ledger, letters=tuple(each for some in kept for each in some))


def span(ms: int) -> str:
    """`3 h`, `1 d 2 h`: the two largest units, rounded."""
    left, words = max(0, ms) // 1000, []
    for (_, large), (_, small) in pairwise(_UNITS):
        if left >= large:
            left = round(left / small) * small
            break
    for unit, sec in _UNITS:
        count, left = divmod(left, sec)
        words += [f"{count} {unit}"] if count else []
    return " ".join(words[:2]) or "0 s"


def post(ledger: Ledger, message: Message, channels: Sequence[str]) -> Ledger:
    """The ledger with a letter to each channel, in place of what of its matter is under way."""
    # What was not delivered yet is out of date: a channel that comes back hears how it is now.
    others = tuple(each for each in ledger.letters if each.message.matter != message.matter)
    return replace(ledger, letters=others + tuple(Letter(message, channel) for channel in channels))


def at(now_ms: int) -> str:
    """The moment as a message ends with it."""
    return f"{grid.timestamp(grid.floor(now_ms, 1000))} UTC"


def _moved(ledger: Ledger, ms: int) -> Ledger:
    spells = {
        matter: Spell(spell.since_ms + ms, spell.cycles, {kind: at_ms + ms for kind, at_ms in spell.told_ms.items()})
        for matter, spell in ledger.spells.items()
    }
    letters = (
        replace(each, message=replace(each.message, made_ms=each.message.made_ms + ms)) for each in ledger.letters
    )
    return replace(ledger, spells=spells, letters=tuple(letters))


def _is_free(letter: Letter, channel: str, now_ms: int) -> bool:
    return letter.channel == channel and abs(now_ms - letter.taken_ms) >= TAKEN_FOR_MS


def _trouble(spell: Spell, heard: Heard, now_ms: int, *, again: bool) -> Message:
    lasting = f"still, after {span(now_ms - spell.since_ms)} and {_cycles(spell, heard.matter)}: " if again else ""
    todo = f"\nto do: {heard.hint}" if heard.hint else ""
    body = f"{lasting}{heard.message}{todo}\n{at(now_ms)}"
    level = "failure" if heard.matter == "cycle" else "warning"
    return Message(heard.matter, level, f"barfeed {heard.series}: {heard.status}", body, now_ms)


def _well_again(spell: Spell, heard: Heard, now_ms: int) -> Message:
    newest = f"; caught up to {heard.newest}" if heard.newest else ""
    was = ", ".join(spell.told_ms)
    body = f"well again after {span(now_ms - spell.since_ms)}, {_cycles(spell, heard.matter)} ({was}){newest}"
    return Message(heard.matter, "success", f"barfeed {heard.series}: well again", f"{body}\n{at(now_ms)}", now_ms)


def _cycles(spell: Spell, matter: str) -> str:
    return f"{spell.cycles} {'failed ' if matter == 'cycle' else ''}cycle{'s' * (spell.cycles != 1)}"
