"""``paystream compare``: the shop's old way and paystream, side by side, with the same orders and faults."""
