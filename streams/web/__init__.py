"""Pages beside Faust's statistics: health for the orchestrator, status for people and commands."""
