"""``paystream demo``: a day of orders through a real Kafka and a real worker, every one accounted for."""
