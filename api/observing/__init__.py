"""What an operator's tools read: Prometheus' metrics, and a log line for each request."""
