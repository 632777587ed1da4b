"""Payment events from files: a shop's invoices as CSV, or events that were written down as JSON lines.

Files are read whole before anything is published. What cannot be read stops the reading, unless such
parts are to be skipped. Then an invoice is taken whole or not at all; where nobody can say whose line is broken (a
damaged archive, a missing column), the whole file is left out.
"""
