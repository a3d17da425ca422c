"""How the exchange is asked for a bar: not before it has settled, and twice where once is not enough."""
