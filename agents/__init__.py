"""The agents: one file each, saying which topic is read and which handler is applied."""
