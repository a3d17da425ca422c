"""How a request reaches the exchange and its answer comes back: bounded in time and memory, through any proxy."""
