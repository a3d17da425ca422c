"""The exchange's stream of klines: what its frames say, and who follows it."""
