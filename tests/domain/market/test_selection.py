"""Which symbols a text means, of what the exchange lists."""

import pytest

from barfeed.domain.errors import UsageError
from barfeed.domain.life import Listing
from barfeed.domain.market.selection import Selection


def listing(symbol: str, contract_type: str = "PERPETUAL", status: str = "TRADING") -> Listing:
    return Listing(symbol, status, contract_type, None, None)


LISTED = {
    each.symbol: each
    for each in (
        listing("BTCUSDT"),
        listing("BTCUSDC"),
        listing("ETHUSDT"),
        listing("DOGEUSDT"),
        listing("1000SHIBUSDT"),
        listing("币安人生USDT"),
        listing("XAUUSDT", "TRADIFI_PERPETUAL"),
        listing("BTCUSDT_260327", "CURRENT_QUARTER"),
        listing("FTMUSDT", status="SETTLING"),
        listing("LATERUSDT", status="PENDING_TRADING"),
    )
}


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("BTCUSDT", ["BTCUSDT"]),
        ("ethusdt, BTCUSDT ,BTCUSDT", ["BTCUSDT", "ETHUSDT"]),
        # Tradifi perpetuals are perpetuals; what does not trade, and a quarterly, is not meant.
        ("all", ["1000SHIBUSDT", "BTCUSDC", "BTCUSDT", "DOGEUSDT", "ETHUSDT", "XAUUSDT", "币安人生USDT"]),
        ("ALL,!*USDT", ["BTCUSDC"]),
        ("*", ["1000SHIBUSDT", "BTCUSDC", "BTCUSDT", "DOGEUSDT", "ETHUSDT", "XAUUSDT", "币安人生USDT"]),
        ("btc*", ["BTCUSDC", "BTCUSDT"]),
        ("????USDT,!ETH*", ["DOGEUSDT", "币安人生USDT"]),
        ("???USDT,!ETHUSDT", ["BTCUSDT", "XAUUSDT"]),
        ("*USDT,!1000*,!XAU*,!币*", ["BTCUSDT", "DOGEUSDT", "ETHUSDT"]),
        ("币安人生usdt", ["币安人生USDT"]),
        # By name, whatever it is: a quarterly, what does not trade, what the exchange does not know.
        ("BTCUSDT_260327,FTMUSDT,NEVERUSDT", ["BTCUSDT_260327", "FTMUSDT", "NEVERUSDT"]),
        ("BTCUSDT,!BTCUSDT", []),
    ],
)
def test_a_selection_means_names_and_perpetuals_that_trade(text: str, symbols: list[str]) -> None:
    assert Selection.of(text).of_list(LISTED) == symbols


@pytest.mark.parametrize(("text", "stored"), [("*USDC", ()), ("NEVERUSDT", ()), ("LUNA*", ("LUNAUSDT",))])
def test_what_means_something_is_expected(text: str, stored: tuple[str, ...]) -> None:
    Selection.of(text).expect_any(LISTED, stored)


@pytest.mark.parametrize("text", ["LUNA*", "*USDT,!*", "BTCUSDT,!BTC*"])
def test_what_fits_nothing_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="fits none of the 7 perpetuals that trade") as told:
        Selection.of(text).expect_any(LISTED, ("BTCUSDT_260327", "OTHERUSD"))
    assert text in str(told.value)


@pytest.mark.parametrize(
    "text", ["", " ", ",", "!BTCUSDT", "BTC USDT", "BTC-USDT", "!", "a,!", "[AB]*", "BTCUSDT;ETHUSDT", "*\x1b"]
)
def test_what_cannot_be_a_selection_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="symbol"):
        Selection.of(text)


@pytest.mark.parametrize(
    ("text", "symbol", "is_meant"),
    [
        ("all", "FTMUSDT", True),
        ("all,!FTM*", "FTMUSDT", False),
        ("*USDC", "FTMUSDT", False),
        ("FTMUSDT", "FTMUSDT", True),
        ("BTCUSDT", "FTMUSDT", False),
        # A quarterly by its name only, whoever named it before.
        ("all", "BTCUSDT_260327", False),
        ("BTCUSDT_*", "BTCUSDT_260327", False),
        ("all,BTCUSDT_260327", "BTCUSDT_260327", True),
    ],
)
def test_what_was_fed_is_meant_while_it_is_included(text: str, symbol: str, is_meant: bool) -> None:
    assert Selection.of(text).includes(symbol) is is_meant


@pytest.mark.parametrize("text", ["all", "BTCUSDT,*USDC,!DOGE*", "ETHUSDT"])
def test_a_selection_reads_back_as_it_is_told(text: str) -> None:
    assert str(Selection.of(text)) == text
    assert Selection.of(str(Selection.of(text))) == Selection.of(text)
