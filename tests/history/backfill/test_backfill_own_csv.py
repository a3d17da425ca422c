"""CSVs as people's programs write them: read as they are meant, or refused for what is wrong with them."""

import gzip
import io
import tarfile
import time
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from barfeed.domain.bars import Bar
from barfeed.store.incoming.staging import Staging
from history.backfill.backfill_world import History, hourly
from history.backfill.own_files_world import DAY, HEADER, LINE, lines, refusal, staged, taken, text, written
from world import ms, shared

SEMICOLONS = LINE.replace(",", ";")
TABS = LINE.replace(",", "\t")
CRYPTO_DATA_DOWNLOAD = (
    "https://www.CryptoDataDownload.com\n"
    "Unix,Date,Symbol,Open,High,Low,Close,Volume BTC,Volume USDT,tradecount\n"
    + lines(reversed(DAY), str, "{time},2024-01-15 01-PM,BTC/USDT,{open!r},{high!r},{low!r},{close!r},{volume!r},9,3")
)
PANDAS = pd.DataFrame(
    {"date": pd.to_datetime([bar.open_time_ms for bar in DAY], unit="ms")}
    | {name: [getattr(bar, name) for bar in DAY] for name in ("open", "high", "low", "close", "volume")}
)

READ = {
    "seconds, as TradingView has them": "time,open,high,low,close,Volume\n" + lines(moment=lambda at: at // 1000),
    "milliseconds": f"{HEADER}\n" + lines(moment=str),
    "microseconds": f"{HEADER}\n" + lines(moment=lambda at: at * 1000),
    "nanoseconds": f"{HEADER}\n" + lines(moment=lambda at: at * 1_000_000),
    "seconds as a float": f"{HEADER}\n" + lines(moment=lambda at: at / 1000),
    "seconds and milliseconds mixed": f"{HEADER}\n" + lines(DAY[:9], lambda at: at // 1000) + lines(DAY[9:], str),
    "an offset": f"{HEADER}\n" + lines(moment=lambda at: f"{text(at + 3_600_000)}+01:00"),
    "ISO with nanoseconds": f"{HEADER}\n" + lines(moment=lambda at: text(at).replace(" ", "T") + ".000000000"),
    "semicolons": "time;open;high;low;close;volume\n" + lines(line=SEMICOLONS),
    "tabs": "time\topen\thigh\tlow\tclose\tvolume\n" + lines(line=TABS),
    "semicolons without a header": lines(line=SEMICOLONS),
    "Excel's word for its delimiter": "sep=;\ntime;open;high;low;close;volume\n" + lines(line=SEMICOLONS),
    "quotes": '"' + HEADER.replace(",", '","') + '"\n' + lines(),
    "blank lines": f"\n{HEADER}\n\n" + lines() + "\n\n",
    "a remark": f"# exported yesterday\n{HEADER}\n" + lines(),
    "lines that end as Windows ends them": (f"{HEADER}\n" + lines()).replace("\n", "\r\n"),
    "another order": "volume,close,low,high,open,time\n"
    + lines(line="{volume!r},{close!r},{low!r},{high!r},{open!r},{time}"),
    "upper case and blanks": "Open Time, Open, High, Low, Close, Volume\n" + lines(),
    "a close_time beside": "close_time,open_time,open,high,low,close,volume\n"
    + lines(line="{time}:59.999," + LINE, moment=text).replace(":00:00:59.999", ":59:59.999"),
    "its last instants": "close_time,open,high,low,close,volume\n" + lines(moment=lambda at: at + 3_599_999),
    "its last seconds": "Close time,open,high,low,close,volume\n" + lines(moment=lambda at: text(at + 3_599_999)),
    "its last nanoseconds": "close_time,open,high,low,close,volume\n"
    + lines(moment=lambda at: (at + 3_600_000) * 1_000_000 - 1),
    "an index of pandas": PANDAS.set_index("date").to_csv(),
    "an index of pandas without a name": PANDAS.set_index("date").rename_axis(None).to_csv(),
    "an index saved twice": PANDAS.rename_axis("Unnamed: 0").reset_index().to_csv(),
    "CryptoDataDownload": CRYPTO_DATA_DOWNLOAD,
}


@pytest.mark.parametrize("form", READ)
def test_a_csv_is_read_as_its_program_meant_it(form: str, staging: Staging, tmp_path: Path) -> None:
    assert staged(staging, written(tmp_path / "bars.csv", READ[form])) == list(DAY)


@pytest.mark.parametrize("form", ["its last instants", "CryptoDataDownload"])
def test_what_is_read_is_stored(form: str, tmp_path: Path) -> None:
    history = History(tmp_path)
    taken(history, written(tmp_path / "bars.csv", READ[form]))
    assert history.held() == list(DAY)


def test_a_packed_csv_is_told_by_its_bytes_and_not_by_its_name(staging: Staging, tmp_path: Path) -> None:
    path = written(tmp_path / "bars.csv", gzip.compress(f"{HEADER}\n{lines()}".encode()))
    assert staged(staging, path) == list(DAY)


@pytest.mark.parametrize(
    ("content", "notes"),
    [
        (
            CRYPTO_DATA_DOWNLOAD,
            ["'https://www.CryptoDataDownload.com'", "'Date', 'Symbol', 'Volume USDT', 'tradecount'"],
        ),
        (
            f"Unnamed: 0,symbol,trades,{HEADER}\n" + lines(line="7,BTCUSDT,3," + LINE),
            ["'Unnamed: 0', 'symbol', 'trades'"],
        ),
        (f"{HEADER}\n{lines()}{lines(DAY[:3])}", ["3 bars came twice, each the same both times"]),
        (f"{HEADER}\n{lines()}", []),
    ],
)
def test_what_is_only_odd_is_told_in_a_note(content: str, notes: list[str], tmp_path: Path) -> None:
    history = History(tmp_path)
    told = taken(history, written(tmp_path / "bars.csv", content)).report.notes
    assert history.held() == list(DAY)
    assert len(told) == len(notes)
    assert all(says in str(note) for note, says in zip(told, notes, strict=True))


def excel(at_ms: int) -> str:
    """Days since the end of 1899."""
    return repr(25_569 + at_ms / 86_400_000)


def formatted(form: str, at_ms: int) -> str:
    return time.strftime(form, time.gmtime(at_ms // 1000))


def tarred(content: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo("bars.csv")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content.encode()))
    return made.getvalue()


WITH_COMMAS = lines(line=SEMICOLONS).replace(".", ",")
REFUSED = [
    (f"{HEADER}\n" + lines(moment=excel), "it is an Excel serial"),
    (f"{HEADER}\n" + lines(moment=lambda at: text(at)[2:]), "'24-01-15 00:00:00': its year has two digits"),
    (f"{HEADER}\n" + lines(moment=lambda at: formatted("%d.%m.%y %H:%M", at)), "its year has two digits"),
    (f"{HEADER}\n" + lines(moment=lambda at: formatted("%m/%d/%Y %H:%M", at)), "its day and its month could be either"),
    (f"{HEADER}\n" + lines(moment=lambda at: formatted("%Y-%m-%d %I-%p", at)), "it has AM or PM"),
    (f"{HEADER}\n" + lines(moment=lambda at: formatted("%Y%m%d", at)), "it is a date without anything between"),
    (f"{HEADER}\n" + lines(moment=lambda at: at // 100), "no time in seconds, ms, us or ns since 1970"),
    (f"{HEADER}\n" + lines(moment=lambda _: ""), "time is empty"),
    ("time;open;high;low;close;volume\n" + WITH_COMMAS, "open '43000,2': it has a decimal comma; write a point"),
    (WITH_COMMAS, "a row is no bar: '2024-01-15 00:00:00;43000,2;"),
    (WITH_COMMAS, "it has a decimal comma"),
    (f"{HEADER}\n" + lines().replace(".", ","), "line 2 has more than 6 cells: are there commas in its numbers?"),
    (
        f"{HEADER}\n" + lines(line='{time},"1,234.5",{high!r},{low!r},{close!r},{volume!r}'),
        "its thousands are set apart",
    ),
    (f"{HEADER}\n" + lines(line="{time},${open!r},{high!r},{low!r},{close!r},{volume!r}"), "it has a unit"),
    (f"{HEADER}\n" + lines() + lines([DAY[0]._replace(volume=1.5)]), "2024-01-15 00:00 comes twice, volume once "),
    (f"{HEADER}\n", "it holds no bar"),
    ("", "it holds no bar: it is empty"),
    (
        "time,price,amount\n1,2,3\n",
        "it has no column open, high, low, close, volume: its columns are 'time, price, amount'",
    ),
    ("open,high,low,close,volume\n1,1,1,1,1\n", "it has no column timestamp"),
    ("time,open,high,low,close,volume,Open\n1,1,1,1,1,1,1\n", "two columns 'open' and 'Open'"),
    (
        "close_time,open,high,low,close,volume\n" + lines(moment=str),
        "'1705276800000' could be a bar's beginning or its end",
    ),
    (
        f"{HEADER}\n" + lines(moment=lambda at: at + 3_599_999),
        "its times are those of bars' ends: call their column close_time",
    ),
    (f"{HEADER},symbol\n" + lines(line=LINE + ",ETH/USDT"), "its column symbol says 'ETH/USDT', expected BTCUSDT 1h"),
    (f"{HEADER},timeframe\n" + lines(line=LINE + ",4h"), "its column timeframe says '4h', expected BTCUSDT 1h"),
    (f"{HEADER}\n" + lines(hourly(ms(2024, 1, 1), ms(2024, 1, 9))[::4]), "its bars open 4h apart, expected BTCUSDT 1h"),
    ("<html><body>404</body></html>", "it is HTML, no CSV"),
    ('{"code": -1121}', "it is JSON, no CSV"),
    (f"{HEADER}\n{lines()}".encode("utf-16"), "it is UTF-16: save it as UTF-8"),
    (f"{HEADER}\n{lines()}".encode("utf-16-le"), "it is UTF-16: save it as UTF-8"),
    (b"\0\1\2\3" * 50, "it holds bytes that are no text"),
    (b"\x80\x04\x95 a pickle", "it holds bytes that are no text"),
    (f"{HEADER}\n" + lines(line="{time},N/A,{high!r},{low!r},{close!r},{volume!r}"), "open 'N/A': it is no number"),
    ("nothing of bars\nin it\n", "it is no table of bars: its only column is 'nothing of bars', expected a time, then"),
    ("<?xml version='1.0'?><bars/>", "it is XML, no CSV"),
    (f"{HEADER}\n{lines()}2024-01-16\n", "line 26 has 1 cell, expected 6: is it a whole CSV?"),
    (gzip.compress(f"{HEADER}\n{lines()}".encode())[:-12], "bars.csv: it cannot be unpacked: it is cut, or broken"),
    (gzip.compress(tarred(f"{HEADER}\n{lines()}")), "it is a tar archive; unpack it"),
    (tarred(f"{HEADER}\n{lines()}"), "it is a tar archive; unpack it"),
    (b"Rar!\x1a\x07\x01\0", "it is packed by RAR; unpack it, or pack it as zip"),
    (b"%PDF-1.7\n", "it is a PDF"),
    (b"SQLite format 3\0" + b"\0" * 100, "it is a SQLite file"),
    (b"\xd0\xcf\x11\xe0" + b"\0" * 100, "it is an Excel workbook"),
    (b"\x28\xb5\x2f\xfd" + b"\0" * 100, "it is packed by zstd"),
]


@pytest.mark.parametrize(("content", "says"), REFUSED, ids=[says for _, says in REFUSED])
def test_a_csv_is_refused_for_what_is_wrong_with_it_and_leaves_no_store(
    content: str | bytes, says: str, nothing_stored: History, tmp_path: Path
) -> None:
    path = written(tmp_path / "bars.csv", content)
    refused = refusal(nothing_stored, path)
    assert str(refused).startswith(f"{path}: ")
    assert says in str(refused)


@pytest.mark.parametrize("name", ["ETHUSDT-1h-2024-02.csv", "BTCUSDT-4h-2024-01.csv", "Binance_BTCUSDT_d.csv"])
def test_a_name_that_says_another_series_is_refused_and_can_be_insisted_on(name: str, tmp_path: Path) -> None:
    history = History(tmp_path)
    path = written(tmp_path / name, f"{HEADER}\n{lines()}")
    refused = refusal(history, path)
    assert "its name says" in str(refused)
    assert "--force-name" in refused.hint
    taken(history, path, force_name=True)
    assert history.held() == list(DAY)


def test_a_column_or_a_spacing_that_says_another_series_can_be_insisted_on(tmp_path: Path) -> None:
    history = History(tmp_path)
    taken(history, written(tmp_path / "a.csv", f"{HEADER},symbol\n" + lines(line=LINE + ",XBTUSD")), force_name=True)
    taken(history, written(tmp_path / "b.csv", f"{HEADER}\n" + lines(DAY[::4])), force_name=True)
    assert history.held() == list(DAY)


def test_a_few_bars_far_from_each_other_may_be_holes_to_fill(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.fill([bar for bar in DAY if bar not in DAY[4:13:4]])
    taken(history, written(tmp_path / "holes.csv", f"{HEADER}\n{lines(DAY[4:13:4])}"))
    assert history.held() == list(DAY)


def test_all_the_rules_that_a_file_breaks_are_counted(tmp_path: Path) -> None:
    bars = hourly(ms(2023, 11, 25, 14), ms(2024, 1, 15, 23))
    broken = lines([bar._replace(high=bar.low / 2) for bar in bars[:-1]])
    problem = refusal(History(tmp_path), written(tmp_path / "bars.csv", f"{HEADER}\n{broken}{lines(bars[-1:])}"))
    assert "bars.csv: 1233 rules broken; first: 2023-11-25 14:00 low and high do not enclose" in str(problem)


def test_a_file_of_which_every_bar_is_left_out_is_refused_with_its_first_and_last_time(tmp_path: Path) -> None:
    history = History(tmp_path)
    path = written(tmp_path / "bars.csv", f"{HEADER}\n{lines()}")
    said = "every bar of it is left out, all 24: they open 2024-01-15 00:00..2024-01-15 23:00, outside of "
    assert said in str(refusal(history, path, from_ms=ms(2024, 1, 16)))
    # Bars that have not closed yet, and a span in which none has.
    later = written(tmp_path / "later.csv", f"{HEADER}\n{lines(hourly(ms(2024, 2, 10, 14), ms(2024, 2, 10, 16)))}")
    assert "all 3: they open 2024-02-10 14:00..2024-02-10 16:00, after 2024-02-10 13:00, the last" in str(
        refusal(history, later)
    )
    one = written(tmp_path / "one.csv", f"{HEADER}\n{lines(hourly(ms(2024, 2, 10, 15), ms(2024, 2, 10, 15)))}")
    assert "its only bar is left out: it opens 2024-02-10 15:00, after " in str(refusal(history, one))
    assert "between --from and --to no bar has closed" in str(refusal(history, path, from_ms=ms(2025, 1, 1)))


def test_what_is_outside_of_the_span_does_not_keep_out_what_is_inside(tmp_path: Path) -> None:
    history = History(tmp_path)
    two_versions = lines([DAY[0], DAY[0]._replace(volume=1.5)])
    path = written(tmp_path / "bars.csv", f"{HEADER}\n{two_versions}{lines(DAY[1:])}")
    taken(history, path, from_ms=DAY[1].open_time_ms)
    assert history.held() == list(DAY[1:])


def moved(bars: list[Bar], by_hours: int) -> list[Bar]:
    return [bar._replace(open_time_ms=bar.open_time_ms + by_hours * 3_600_000) for bar in bars]


def times(bar: Bar, factor: float) -> Bar:
    return Bar(bar.open_time_ms, *(value * factor for value in bar.values))


def test_a_file_of_which_most_differs_from_the_store_fills_nothing(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.fill(DAY[:12])
    stranger = written(tmp_path / "bars.csv", f"{HEADER}\n{lines(times(bar, 0.05) for bar in DAY)}")
    refused = refusal(history, stranger)
    assert "12 of its 12 bars that are stored too differ there; first: 2024-01-15 00:00 open stored " in str(refused)
    assert "another market" in refused.hint
    assert history.held() == list(DAY[:12])


@pytest.mark.parametrize("by_hours", [-8, 1, 9])
def test_a_file_in_local_time_is_told_by_how_much(by_hours: int, tmp_path: Path) -> None:
    history = History(tmp_path)
    bars = hourly(ms(2024, 1, 14), ms(2024, 1, 20, 23))
    held = bars[:72]
    history.fill(held)
    # A few bars more than the store has, and most of them more.
    few = refusal(history, written(tmp_path / "few.csv", f"{HEADER}\n{lines(moved(held[6:], by_hours))}"))
    refused = refusal(history, written(tmp_path / "bars.csv", f"{HEADER}\n{lines(moved(bars[6:], by_hours))}"))
    assert refused.hint == few.hint
    way = "earlier" if by_hours > 0 else "later"
    # A file that begins or ends beyond what is stored has something to fill.
    assert f"{abs(by_hours)}h {way} they would agree: its times are not UTC" in refused.hint
    assert history.held() == held


def test_another_markets_file_with_more_to_fill_than_is_stored_is_told_as_that(tmp_path: Path) -> None:
    history = History(tmp_path)
    bars = hourly(ms(2024, 1, 14), ms(2024, 1, 20, 23))
    history.fill(bars[:72])
    other = written(tmp_path / "bars.csv", f"{HEADER}\n{lines(times(bar, 2) for bar in bars)}")
    assert "it is of another market, or in other units" in refusal(history, other).hint
    assert history.held() == list(bars[:72])


def test_a_bar_of_five_values_without_volume_is_flat(tmp_path: Path) -> None:
    history = History(tmp_path)
    odd = DAY[3]._replace(volume=0.0)
    refused = refusal(history, written(tmp_path / "odd.csv", f"{HEADER}\n{lines([*DAY[:3], odd])}"))
    assert "nothing was traded and prices differ" in str(refused)


def test_half_that_differs_fills_nothing_and_less_than_half_is_told_bar_by_bar(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.fill(DAY[:4])
    half = [times(DAY[0], 2), times(DAY[1], 2), *DAY[2:6]]
    refusal(history, written(tmp_path / "half.csv", f"{HEADER}\n{lines(half)}"))
    assert history.held() == list(DAY[:4])
    one = [times(DAY[0], 2), *DAY[1:6]]
    report = taken(history, written(tmp_path / "one.csv", f"{HEADER}\n{lines(one)}")).report
    assert (report.exit_code, report.appended, len(report.mismatches)) == (1, 2, 1)
    assert history.held() == list(DAY[:6])


def test_a_file_that_fills_nothing_is_compared_however_much_differs(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.fill(DAY)
    report = taken(history, written(tmp_path / "x.csv", f"{HEADER}\n{lines(times(bar, 2) for bar in DAY)}")).report
    assert (report.exit_code, report.appended, len(report.mismatches)) == (1, 0, 24)


def test_a_price_that_breaks_where_a_file_meets_the_store_is_told(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.fill([*DAY[:6], *DAY[18:]])
    report = taken(
        history, written(tmp_path / "x.csv", f"{HEADER}\n{lines(times(bar, 0.05) for bar in DAY[6:18])}")
    ).report
    told = [str(note) for note in report.notes if note.rule == "level"]
    assert [
        f"at {text(bar.open_time_ms)[:-3]}: is it of the same market?" in each
        for bar, each in zip((DAY[6], DAY[18]), told, strict=True)
    ] == [True, True]
    assert f"goes from {DAY[5].close} to {DAY[6].open * 0.05}" in told[0]


@pytest.mark.parametrize(
    "name", ["rest/BTCUSDT-1h.parquet", "rest/ETHUSDT-1h.parquet", "market/klines-1h-2026q1.parquet"]
)
def test_no_real_bar_opens_so_far_from_the_close_before_it(name: str) -> None:
    symbol = "symbol" if name.startswith("market") else "''"
    farthest = duckdb.execute(
        "SELECT max(abs(open / before - 1)) FROM"
        f" (SELECT open, lag(close) OVER (PARTITION BY {symbol} ORDER BY timestamp) AS before FROM '{shared(name)}')"
    ).fetchall()
    assert farthest[0][0] < 0.15


def test_bars_that_are_missing_between_a_file_and_the_store_are_told(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.fill([*DAY[:6], *DAY[18:]])
    report = taken(history, written(tmp_path / "x.csv", f"{HEADER}\n{lines(DAY[8:17])}")).report
    told = [str(note) for note in report.notes if note.rule == "seam"]
    assert [
        "2024-01-15 06:00..2024-01-15 07:00 (2 bars) are missing" in told[0],
        "2024-01-15 17:00 are missing" in told[1],
    ]


def test_the_archives_further_columns_prove_a_users_bars_by_whatever_name(tmp_path: Path) -> None:
    history = History(tmp_path)
    header = f"{HEADER},Quote asset volume,Number of trades,Taker buy base asset volume,Taker buy quote asset volume"
    bar = DAY[0]
    proven = f"{text(bar.open_time_ms)},2,4,1,3,10,30,5,4,12"
    taken(history, written(tmp_path / "good.csv", f"{header}\n{proven}\n"))
    assert history.held() == [Bar(bar.open_time_ms, 2, 4, 1, 3, 10)]
    for wrong in (
        proven.replace(",30,", ",300,"),
        proven.replace(",30,5,4,12", ",30,5,11,12"),
        proven.replace(",30,5,", ",30,0,"),
    ):
        path = written(tmp_path / "wrong.csv", f"{header}\n{wrong}\n")
        assert "1 rule broken; first: 2024-01-15 00:00" in str(refusal(history, path))
    assert "a row is no bar" in str(
        refusal(history, written(tmp_path / "no.csv", f"{header}\n{proven.replace(',30,', ',much,')}\n"))
    )


def test_what_is_refused_adds_no_table_to_a_store_of_others(tmp_path: Path) -> None:
    history = History(tmp_path)
    with duckdb.connect(history.duckdb) as connection:
        connection.execute("CREATE TABLE theirs (x INTEGER)")
    refusal(history, written(tmp_path / "bars.csv", f"{HEADER}\n"))
    with duckdb.connect(history.duckdb) as connection:
        assert connection.execute("SHOW TABLES").fetchall() == [("theirs",)]
    taken(history, written(tmp_path / "bars.csv", f"{HEADER}\n{lines()}"))
    assert history.held() == list(DAY)
