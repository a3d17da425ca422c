"""What faults do to an answer: to its rows, to its body, to the wire, to the time."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.replay import refusals
from barfeed.replay.faults.script import Fault
from barfeed.replay.messages import HTML, JSON, Drip, Effect, Hang, Reply, Reset, Truncate, reply
from barfeed.replay.tapes.rows import cells

# How long a scripted 418 bans, unless told.
BAN_SEC = 120
# A whole number from here on, 2001, is a moment.
EARLIEST_MS = 10**12
PAGE = "<!DOCTYPE html><html><head><title>Maintenance</title></head><body>We will be back soon.</body></html>"


class Case(NamedTuple):
    """One request being answered: when, what was sent, which faults strike it, what the limit is."""

    now_ms: int
    sent: Mapping[str, str]
    faults: tuple[Fault, ...]
    weight_limit: int
    span: str = "minute"


def _at(rows: Sequence[str], fault: Fault) -> int | None:
    """Where the row is that the fault is about: its bar's, else the last."""
    if "bar" not in fault.args:
        return len(rows) - 1 if rows else None
    # A kline's row begins with its time, any other has it as some member.
    told = (f"[{fault.args['bar']},", f":{fault.args['bar']},", f":{fault.args['bar']}}}")
    return next((at for at, row in enumerate(rows) if row.startswith(told[0]) or any(map(row.count, told[1:]))), None)


def duplicate(rows: list[str], fault: Fault, _forming: str | None) -> list[str]:
    """The row, twice."""
    at = _at(rows, fault)
    return rows if at is None else [*rows[: at + 1], *rows[at:]]


def disorder(rows: list[str], fault: Fault, _forming: str | None) -> list[str]:
    """The row before the one before it."""
    at = _at(rows, fault)
    return rows if not at else [*rows[: at - 1], rows[at], rows[at - 1], *rows[at + 1 :]]


def slip_in_forming(rows: list[str], _fault: Fault, forming: str | None) -> list[str]:
    """As many rows, but the last is the forming one."""
    if not rows or forming is None or rows[-1] == forming:
        return rows
    return [*rows[1:], forming]


def off_grid(row: list[str], fault: Fault) -> list[str]:
    """Opened and closed later."""
    # Another fault may have made a time something else already.
    return [_later(cell, fault.args["ms"]) if _value(cell).isdigit() else cell for cell in row]


def _later(cell: str, ms: int) -> str:
    at_ms = int(_value(cell))
    return f"{_name(cell)}{at_ms + ms}" if at_ms >= EARLIEST_MS else cell


def _name(cell: str) -> str:
    """What stands before a cell's value: nothing in a kline's row, `"name":` in an object."""
    return cell[: len(cell) - len(_value(cell))]


def _value(cell: str) -> str:
    return cell.rpartition(":")[2]


def text(row: list[str], fault: Fault) -> list[str]:
    """One cell replaced."""
    column = fault.args["column"]
    named = [_name(cell) for cell in row[column : column + 1]]
    return [*row[:column], *(f"{name}{fault.args['value']}" for name in named or [""]), *row[column + 1 :]]


def missing_field(row: list[str], fault: Fault) -> list[str]:
    """One cell less."""
    column = fault.args["column"]
    return [*row[:column], *row[column + 1 :]]


def _in_one_row(change: Callable[[list[str], Fault], list[str]]) -> "RowsChange":
    def changed(rows: list[str], fault: Fault, _forming: str | None) -> list[str]:
        at = _at(rows, fault)
        if at is None:
            return rows
        row = rows[at]
        return [*rows[:at], f"{row[0]}{','.join(change(cells(row), fault))}{row[-1]}", *rows[at + 1 :]]

    return changed


RowsChange = Callable[[list[str], Fault, str | None], list[str]]

ROWS: dict[str, RowsChange] = {
    "duplicate": duplicate,
    "disorder": disorder,
    "forming": slip_in_forming,
    "off_grid": _in_one_row(off_grid),
    "text": _in_one_row(text),
    "missing_field": _in_one_row(missing_field),
}


def status(_answer: Reply, fault: Fault, case: Case) -> Reply:
    """The exchange's own words for a status, or other words in the same form."""
    said = fault.args
    words = refusals.BY_STATUS[said["status"]]
    if "code" in said or "msg" in said:
        code = said.get("code", 0 if words.code is None else words.code)
        words = words._replace(code=code, text=refusals.literal(said["msg"]) if "msg" in said else words.text)
    if "retry_after" in said:
        words = words._replace(headers=(*words.headers, ("Retry-After", str(said["retry_after"]))))
    until_ms = case.now_ms + said.get("retry_after", BAN_SEC) * 1000
    return words.reply(said["status"], ip=refusals.IP, until_ms=until_ms, limit=case.weight_limit, span=case.span)


def redirect(_answer: Reply, fault: Fault, _case: Case) -> Reply:
    """Somewhere else."""
    return reply(302, "", HTML, ("Location", fault.args["to"]))


def cut_json(answer: Reply, _fault: Fault, _case: Case) -> Reply:
    """The first half of the body."""
    return answer._replace(body=answer.body[: len(answer.body) // 2])


def header_case(answer: Reply, fault: Fault, _case: Case) -> Reply:
    """The same headers, spelt otherwise."""
    spell = str.lower if fault.args["case"] == "lower" else str.upper
    return answer._replace(headers=tuple((spell(name), value) for name, value in answer.headers))


Change = Callable[[Reply, Fault, Case], Reply]


def _always(body: str, content_type: str = JSON) -> Change:
    return lambda _answer, _fault, _case: reply(200, body, content_type)


def _on_the_wire(effect: Callable[[Fault], Effect]) -> Change:
    return lambda answer, fault, _case: answer._replace(effect=effect(fault))


# Before the answer has the headers that every answer has.
BODIES: dict[str, Change] = {
    "empty": _always("[]"),
    "object": _always('{"code":0,"msg":"success"}'),
    "html": _always(PAGE, HTML),
    "cut_json": cut_json,
    "status": status,
    "redirect": redirect,
}

# After.
WIRE: dict[str, Change] = {
    "header_case": header_case,
    "truncate": _on_the_wire(lambda _: Truncate()),
    "reset": _on_the_wire(lambda _: Reset()),
    "hang": _on_the_wire(lambda fault: Hang(fault.args["sec"])),
    "drip": _on_the_wire(lambda fault: Drip(fault.args["bytes_per_sec"])),
}

# What /time says instead of now.
TIMES: dict[str, Callable[[int, Fault], int]] = {
    "skew": lambda now_ms, fault: now_ms + int(fault.args["ms"]),
    "stale_time": lambda now_ms, fault: grid.floor(now_ms, max(1, int(fault.args["sec"] * 1000))),
}
