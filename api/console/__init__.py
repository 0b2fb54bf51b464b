"""The console: pages for people, at `/ui`. What they do goes through the REST API."""
