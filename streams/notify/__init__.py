"""Telling customers: letters and webhooks, their texts, and who may be told how often."""
