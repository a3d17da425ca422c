"""Binance USDT-M Futures, as its own documents and measurements describe it."""
