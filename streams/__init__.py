"""paystream's engine: delivery from Kafka to Faust agents and back, and what to do when it fails."""
