"""The messages on the wire, as pydantic models. Imports nothing else of paystream."""
