"""An exchange on loopback that speaks Binance's own REST protocol, from bars, with a clock of its own."""
