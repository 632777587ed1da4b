"""What paystream costs, measured on one machine in one run against the limit and against plain Faust.

Ratios are what matters: absolute figures move with the machine. Nothing here is asserted in a test.
"""
