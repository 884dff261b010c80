"""`/api/v1`: routes in `endpoints`, their document in `openapi`, live events in `event_stream`."""
