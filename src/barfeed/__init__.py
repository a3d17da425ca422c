"""barfeed: closed, proven 1h bars of Binance USDT-M Futures for a trading model."""

__version__ = "0.1.0"
