"""One message for the trouble of many series: decided for each as if it were alone, and told of all at once. Pure."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from barfeed.domain.market.telling import named
from barfeed.operate.alerts import troubles
from barfeed.operate.alerts.troubles import Heard, Ledger, Message, Spell


class Crowd(NamedTuple):
    """What one pass says of many series in one matter: `heard` of each that it knows of, worst first.

    The matter of each is `{matter} {symbol}`. What is not `fed` any more nobody will hear of again. `newest` is the
    bar that all have where all are well.
    """

    matter: str
    name: str
    heard: Sequence[Heard]
    fed: Collection[str]
    newest: str = ""

    def symbol(self, matter: str) -> str:
        """Whose matter it is."""
        return matter.removeprefix(f"{self.matter} ")

    def spells(self, ledger: Ledger) -> dict[str, Spell]:
        """The troubles of its series that last, by their matter."""
        return {name: spell for name, spell in ledger.spells.items() if name.startswith(f"{self.matter} ")}


class _Turn(NamedTuple):
    """What has come of the series' troubles: those that last, which of them are to be told, and those that ended."""

    lasting: Mapping[Heard, Spell]
    due: Sequence[Heard]
    well: Mapping[str, Spell]
    gone: Mapping[str, Spell]

    @property
    def is_news(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.due or self.well or self.gone)


def note(ledger: Ledger, crowd: Crowd, channels: Sequence[str], now_ms: int) -> Ledger:
    """The ledger after a pass, and at most one letter to each channel: it tells how all are, also those told before."""
    before = crowd.spells(ledger)
    turn = _turn(crowd, before, now_ms)
    lasting = turn.lasting
    if turn.is_news:
        # All of them stand in the message: whoever is reminded of one is reminded of all.
        lasting = {each: _told(spell, each, now_ms) for each, spell in lasting.items()}
    ended = {*turn.well, *turn.gone}
    kept = {name: spell for name, spell in ledger.spells.items() if name not in ended}
    ledger = replace(ledger, spells=kept | {each.matter: spell for each, spell in lasting.items()})
    return troubles.post(ledger, _message(crowd, turn, now_ms), channels) if turn.is_news else ledger


def _turn(crowd: Crowd, before: Mapping[str, Spell], now_ms: int) -> _Turn:
    decided = {each: troubles.decide(before.get(each.matter), each, now_ms) for each in crowd.heard}
    return _Turn(
        lasting={each: spell for each, (_, spell) in decided.items() if spell},
        due=[each for each, (message, spell) in decided.items() if message and spell],
        well={each.matter: before[each.matter] for each, (message, spell) in decided.items() if message and not spell},
        gone={matter: spell for matter, spell in before.items() if crowd.symbol(matter) not in crowd.fed},
    )


def _told(spell: Spell, heard: Heard, now_ms: int) -> Spell:
    return replace(spell, told_ms=spell.told_ms | {heard.status: now_ms})


def _message(crowd: Crowd, turn: _Turn, now_ms: int) -> Message:
    level = "success" if not turn.due else "failure" if crowd.matter == "series" else "warning"
    body = "\n".join([*_lines(crowd, turn, now_ms), troubles.at(now_ms)])
    return Message(crowd.matter, level, f"barfeed {crowd.name}: {_title(turn)}", body, now_ms)


def _title(turn: _Turn) -> str:
    if turn.due:
        return ", ".join(_by_status(turn.due))
    return f"{len(turn.well) + len(turn.gone)} of its troubles ended" if turn.lasting else "well again"


def _lines(crowd: Crowd, turn: _Turn, now_ms: int) -> Iterator[str]:
    for status, some in _by_status(turn.due).items():
        yield from _trouble(crowd, status, some, turn.lasting[some[0]], now_ms)
    if turn.well:
        caught_up = f"; caught up to {crowd.newest}" if crowd.newest and not turn.lasting else ""
        yield f"well again {_after(turn.well, now_ms)}: {_named(crowd, turn.well)}{caught_up}"
    if turn.gone:
        yield f"settled, halted or fed no more {_after(turn.gone, now_ms)}: {_named(crowd, turn.gone)}"
    others = [each for each in turn.lasting if each not in turn.due]
    if others:
        told = (f"{status}: {_named(crowd, _matters(some))}" for status, some in _by_status(others).items())
        yield f"still in trouble: {'; '.join(told)}"


def _trouble(crowd: Crowd, status: str, some: Sequence[Heard], spell: Spell, now_ms: int) -> Iterator[str]:
    first = some[0]
    of_all = f"{status}: {_named(crowd, _matters(some))}; first: " if len(some) > 1 else ""
    lasting = f"still, {_after({first.matter: spell}, now_ms)}: " if spell.cycles > 1 else ""
    yield f"{of_all}{lasting}{first.message}"
    if first.hint:
        yield f"to do: {first.hint}"


def _by_status(some: Sequence[Heard]) -> dict[str, list[Heard]]:
    by_status: dict[str, list[Heard]] = {}
    for each in some:
        by_status.setdefault(each.status, []).append(each)
    return by_status


def _matters(some: Sequence[Heard]) -> list[str]:
    return [each.matter for each in some]


def _named(crowd: Crowd, matters: Collection[str]) -> str:
    return f"{len(matters)} series ({named([crowd.symbol(each) for each in matters])})"


def _after(spells: Mapping[str, Spell], now_ms: int) -> str:
    """How long the longest of them was."""
    longest = min(spells.values(), key=lambda spell: spell.since_ms)
    statuses = sorted({status for spell in spells.values() for status in spell.told_ms})
    up_to = "up to " if len(spells) > 1 else ""
    return f"after {up_to}{troubles.span(now_ms - longest.since_ms)} ({', '.join(statuses)})"
