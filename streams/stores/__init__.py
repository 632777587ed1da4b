"""What agents keep in the database, one module for each: pure arithmetic, and set-based statements around it."""
