"""What a symbol has beside its klines: prices of mark and index, funding, open interest, ratios; found or made up."""
