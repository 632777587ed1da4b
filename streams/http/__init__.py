"""Asking others over HTTP: what a request carries, and what an answer means."""
