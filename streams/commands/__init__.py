"""The commands of ``paystream``, which is ``faust -A streams.app``."""
