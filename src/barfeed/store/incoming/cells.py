"""Why a cell is no time or no number, in the words of the program that wrote it. Pure."""

import re
from collections.abc import Mapping

_TIMES = {
    r"\d{2}-\d{1,2}-\d{1,2}(\D.*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2}(\D.*)?": "its year has two digits",
    r"\d{1,2}[-/.]\d{1,2}[-/.]\d{4}(\D.*)?": "its day and its month could be either",
    r"(?i).*\d\W?[ap]\.?m\.?": "it has AM or PM",
    r"[2-9]\d{4}([.,]\d*)?": "it is an Excel serial",
    r"(19|20)\d{6}(\d{2,6}|\D.*)?": "it is a date without anything between",
    r"-?\d+([.,]\d*)?([eE][-+]?\d+)?": "it is no time in seconds, ms, us or ns since 1970",
    r".+": "it is no time that is known here",
}
_NUMBERS = {
    r"-?\d+,\d+|-?\d{1,3}(\.\d{3})+,\d+": "it has a decimal comma; write a point",
    r"-?\d{1,3}([,' ]\d{3})+(\.\d+)?": "its thousands are set apart; leave that out",
    r"\W*[$€£]\W*[\d.,]+|[\d.,]+\W*[$€£%KMBkmb]": "it has a unit; leave that out",
    r".+": "it is no number",
}
_WRITE = "write it like 2024-01-15 13:00:00, in UTC"


def why(cells: Mapping[str, str | None]) -> str:
    """What is wrong with the first cell, by its column, that can be told; "" where nothing is known of it."""
    for role, cell in cells.items():
        is_time = role in {"open_time", "close_time"}
        text = (cell or "").strip()
        if not text:
            return f"{'time' if is_time else role} is empty"
        said = next((said for form, said in (_TIMES if is_time else _NUMBERS).items() if re.fullmatch(form, text)), "")
        if said and is_time:
            said = f"{said}; {_WRITE}"
        if said:
            return f"{'time' if is_time else role} {text[:40]!a}: {said}"
    return ""
